"""Is a run that was killed ten times the run that was left alone? Kills `python -m train` at random steps and resumes it.

python benchmarks/train_kills.py [--kills 10] [--encoder tiny] [--quick]

Trains on the embedded sample twice with the same settings, once in peace and once killed (SIGKILL) at random steps, each time
resumed, and compares the final weights bit by bit and the policies. Prints where the kills fell and, last, one line of JSON.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.files import read_json, sha256  # noqa: E402

STEPS = 60


def train(*arguments: str) -> "subprocess.Popen[bytes]":
    """Start a training process."""
    environment = {**os.environ, "PYTHONPATH": sys.path[0], "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen([sys.executable, "-m", "train", *arguments], cwd=sys.path[0], env=environment, stdout=subprocess.DEVNULL)


def newest_step(folder: Path) -> int:
    """The step of the newest checkpoint that has begun to be written."""
    return max((int(re.sub(r"\D", "", path.name)) for path in folder.glob("*/checkpoints/checkpoint-*")), default=0)


def main() -> None:
    """Train, kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--encoder", default="tiny")
    parser.add_argument("--quick", action="store_true", help="two kills")
    arguments = parser.parse_args()
    kills = 2 if arguments.quick else arguments.kills
    generator = random.Random()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shared = [
            f"data_dir={folder / 'data'}", f"runs_dir={folder / 'runs'}", "experiment=quickstart", f"encoder={arguments.encoder}",
            f"trainer.max_steps={STEPS}", "trainer.checkpoint_minutes=0", "trainer.trackers=[]", "trainer.loss.dro_step=0.01",
        ]  # fmt: skip
        if train(*shared, "name=peace").wait():
            sys.exit("the run in peace failed")
        steps = sorted(generator.sample(range(1, STEPS - 2), kills))
        command, killed = [*shared, "name=war"], []
        for step in steps:
            process = train(*command)
            while process.poll() is None and newest_step(folder / "runs" / "war") < step:
                time.sleep(0.002)
            time.sleep(generator.uniform(0, 0.05))  # in the midst of writing the checkpoint, or after
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed.append(newest_step(folder / "runs" / "war"))
            (run,) = (folder / "runs" / "war").glob("2*")
            command = [f"resume={run}"]
            print(f"killed at step {killed[-1]}", flush=True)
        if train(*command).wait():
            sys.exit("the resumed run failed")
        ends = [folder / "runs" / kind / "latest" for kind in ("peace", "war")]
        same = sha256(ends[0] / "model" / "model.safetensors") == sha256(ends[1] / "model" / "model.safetensors")
        policies = read_json(ends[0] / "policy.json") == read_json(ends[1] / "policy.json")
    print(json.dumps({"kills": len(killed), "at_steps": killed, "weights_identical": same, "policies_identical": policies}))
    sys.exit(not (same and policies))


if __name__ == "__main__":
    main()
