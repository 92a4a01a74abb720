"""What a killed `python -m data_prep` leaves behind: kills it at random moments and looks.

python benchmarks/data_prep_kills.py [--kills 20] [--quick]

Prepares the embedded sample again and again, each time with another split seed so that another table would be published,
and kills the process (SIGKILL) at a moment drawn uniformly from its run time. After each kill the data set must be whole:
it loads and its files have the hashes that its manifest names. Prints what was found and, last, one line of JSON.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # or `data_prep` would be a benchmark

from data_prep.files import read_json, sha256  # noqa: E402
from data_prep.table import load_examples  # noqa: E402


def prepare(folder: Path, seed: int) -> "subprocess.Popen[bytes]":
    """Start a preparation of the sample into `folder`."""
    command = [sys.executable, "-m", "data_prep", f"data_dir={folder}", f"mixture.split_seed={seed}", "engine.workers=1"]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": sys.path[0]}, cwd=sys.path[0]
    )


def is_wrong(folder: Path) -> bool:
    """Whether the data set loads but is not what its manifest says."""
    table = load_examples(folder)
    manifest = read_json(folder / "manifest.json")
    hashes = {path.name: sha256(path) for path in (folder / "table").glob("*.arrow")}
    return hashes != manifest["table_sha256"] or len(table) != manifest["rows"]


def main() -> None:
    """Kill and look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="three kills")
    arguments = parser.parse_args()
    kills = 3 if arguments.quick else arguments.kills
    generator = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.monotonic()
        if prepare(folder, 0).wait():
            sys.exit("the first preparation fails: run `python -m data_prep` to see why")
        duration = time.monotonic() - began
        finished = wrong = 0
        for kill in range(1, kills + 1):
            process = prepare(folder, kill)
            time.sleep(generator.uniform(0, duration))
            process.send_signal(signal.SIGKILL)
            process.wait()
            wrong += is_wrong(folder / "sample")
            finished += read_json(folder / "sample" / "manifest.json")["splitting"][2] == kill
            print(f"kill {kill}: {wrong} wrong so far, {finished} had published before")
    print(json.dumps({"kills": kills, "wrong": wrong, "published_before_the_kill": finished, "seconds_per_run": round(duration, 1)}))


if __name__ == "__main__":
    main()
