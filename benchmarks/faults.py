"""What is left after a stage was killed, ran out of disk, or found its files damaged.

python benchmarks/faults.py [--kills 205] [--seed 0] [--quick]

Every stage runs on a few made-up rows with the tiny encoder, through its real entry point, in a child forked from a process that has
already imported everything, so that a kill costs the time that the stage had run and not the start of Python.

kills   SIGKILL at a moment drawn uniformly from the stage's run time, so often that as many processes as asked for were killed in their
        midst; attempts that came too late are counted as `ended_before`. Each attempt would replace the result by another one. After each
        the old or the new result must be there, whole: every file has the hash that its manifest, record or checksum list names. Runs
        are gone on with until they end, and must end with the very weights of a run left alone. At last each stage runs in peace.
disk    a small file system (Linux, as root) of several sizes: the stage ends well or with exit code 2, and the old result is whole.
damage  each file of a stage's result broken off or with a turned bit: the stage that reads it ends well or with exit code 2.

Prints a table per part and, last, one line of JSON; exit code 1 if anything was wrong.
"""

import argparse
import functools
import hashlib
import http.server
import itertools
import json
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # or `data_prep` would be a benchmark
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "NO_PROXY": "127.0.0.1"}

import onnxscript  # noqa: E402, F401
import torch._dynamo  # noqa: E402 - what the stages would import when they run, once for all children
import torch.onnx  # noqa: E402, F401

import evaluate.report  # noqa: E402, F401
import export.publish  # noqa: E402, F401
from data_prep.files import read_json, sha256  # noqa: E402
from data_prep.table import load_examples  # noqa: E402
from export.verify import altered_files  # noqa: E402
from train.checkpoints import newest_whole_checkpoint  # noqa: E402
from train.run import load_run  # noqa: E402

WORDS = ("sun", "rain", "tea", "milk")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHARES = {"fetch": 55, "data_prep": 60, "train": 35, "export": 8, "evaluate": 12, "publish": 35}  # the slow ones less often


def run(stage: str, *arguments: str, kill_after: float | None = None) -> int:
    """Run a stage in a child; returns its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        os.setsid()
        silence = os.open(os.environ.get("FAULTS_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        sys.argv = [stage, *arguments]
        code = 0
        try:
            runpy.run_module(stage, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 99  # a traceback: what no fault may lead to
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.killpg(child, signal.SIGKILL) if os.getpgid(child) == child else os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 0 if (stage, code) == ("evaluate", 1) else code  # the gate fails: a result like any other


@dataclass
class Place:
    """A folder with a mixture of made-up rows, and the command lines that lead from it to a published release."""

    folder: Path
    url: str
    data: Path = field(init=False)

    def __post_init__(self) -> None:
        self.data = self.folder / "data"
        generator = random.Random(0)
        rows = []
        for index in range(160):
            violence, propaganda = generator.random() < 0.4, generator.random() < 0.4
            words = [generator.choice(WORDS) for _ in range(4)] + ["zz"] * violence + ["qq"] * propaganda
            row = {"text": f"{' '.join(words)} {index}", "propaganda": int(propaganda), "violence_glorification": int(violence)}
            rows.append(row | {"split": ("train", "train", "validation", "test")[index % 4]})
        self.content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (self.folder / "served" / "dalmire" / "posts" / COMMIT).mkdir(parents=True)
        (self.folder / "served" / "dalmire" / "posts" / COMMIT / "posts.jsonl").write_bytes(self.content)
        (self.folder / "sums").write_text(f"{hashlib.sha256(self.content).hexdigest()}  posts.jsonl\n", encoding="utf-8")
        heads = ("propaganda", "violence_glorification")
        source = {
            "name": "posts", "title": "t", "origin": "o", "licence": "l", "files": "posts.jsonl", "text": "text",
            "language": {"value": "en"}, "split": {"column": "split"}, "labels": {head: {head: {"1": 1, "0": 0}} for head in heads},
            "sense": dict.fromkeys(heads, "glorification"),
            "download": {"repository": "dalmire/posts", "commit": COMMIT, "checksums": str(self.folder / "sums"), "paths": {"{n}": "{n}"}},
        }  # fmt: skip
        for group, name, text in (
            ("source", "posts", json.dumps(source)),
            ("mixture", "mine", "defaults:\n  - /source@sources.posts: posts\nname: mine\n"),
        ):
            (self.folder / "own" / group).mkdir(parents=True)
            (self.folder / "own" / group / f"{name}.yaml").write_text(text, encoding="utf-8")
        self.mixture = (f"hydra.searchpath=[file://{self.folder}/own]", "mixture=mine", f"data_root={self.folder}/raw")

    def command(self, stage: str, turn: int, at: Path | None = None) -> tuple[str, ...]:
        """The command line of a stage; each turn would leave another result, at `at` if that is another disk."""
        here = at or self.folder
        releases = f"releases_dir={here}/releases"
        match stage:
            case "fetch":
                return "data_prep.fetch", *self.mixture[:2], f"data_root={here}/raw", f"mirror={self.url}"
            case "data_prep":
                return "data_prep", *self.mixture, f"data_dir={here}/data", f"mixture.split_seed={turn}", "engine.workers=1"
            case "train":
                return (
                    "train", *self.mixture, f"data_dir={self.data}", f"runs_dir={here}/runs", "name=tiny", "encoder=tiny",
                    "trainer.max_steps=8", "trainer.checkpoint_minutes=0", "trainer.trackers=[]", "trainer.bf16=false",
                    "trainer.learning_rate=1e-2", "trainer.sampling.tokens_per_batch=256", "projection.steps=1", "projection.texts=20",
                )  # fmt: skip
            case "export":
                return "export", f"run={self.folder}/runs/{('tiny', 'other')[turn % 2]}/latest", "release=tiny", releases, "variants=[fp16]"
            case "evaluate":
                least = (5, 100_000)[turn % 2]  # the language reaches its tier, or does not: the artifact is stamped anew
                tier = (f"gate.tiers.provisional.min_negatives={least}", "gate.tiers.provisional.min_positives=5")
                return "evaluate", "release=tiny", releases, f"data_dir={self.data}", "gate=demo", *tier
            case _:
                source = f"releases_dir={self.folder}/releases"
                return "export.publish", f"release={('tiny', 'other')[turn % 2]}", source, f"to={here}/published", "dry_run=false"

    def wrong(self, stage: str, at: Path | None = None) -> str | None:
        """What of the stage's result is neither the old nor the new one, whole; None if all is well."""
        here = at or self.folder
        try:
            match stage:
                case "fetch":
                    path = here / "raw" / "posts.jsonl"
                    return "other bytes" if path.exists() and path.read_bytes() != self.content else None
                case "data_prep":
                    return None if len(load_examples(here / "data" / "mine")) else "no rows"  # which checks the hashes
                case "train":
                    return self._wrong_runs(here / "runs" / "tiny")
                case "export" | "publish":
                    folder = here / ("published" if stage == "publish" else "releases/tiny/artifact")
                    return "; ".join(altered_files(folder)) or None
                case _:
                    report = here / "releases" / "tiny" / "report"
                    missing = {"report.html", "metrics.json", "predictions.parquet"} - {path.name for path in report.iterdir()}
                    read_json(report / "metrics.json")
                    return "; ".join([*altered_files(here / "releases" / "tiny" / "artifact"), *sorted(missing)]) or None
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    def _wrong_runs(self, folder: Path) -> str | None:
        for run_folder in folder.glob("2*"):
            if (run_folder / "run.json").is_file():
                weights = load_run(run_folder).folder / "model" / "model.safetensors"
                if sha256(weights) != sha256(self.folder / "runs" / "peace" / "latest" / "model" / "model.safetensors"):
                    return f"{run_folder.name} ended with other weights"
            elif (run_folder / "begun.json").is_file():
                newest_whole_checkpoint(run_folder / "checkpoints")
        latest = folder / "latest"
        return "latest leads to no finished run" if latest.is_symlink() and not (latest / "run.json").is_file() else None

    def unfinished(self) -> Path | None:
        """A run to go on with."""
        begun = (path.parent for path in sorted(self.folder.glob("runs/tiny/2*/begun.json")))
        return next((path for path in begun if not (path / "run.json").is_file()), None)


def run_in_peace(*command: str) -> float:
    """Run a stage that nothing disturbs; returns its seconds."""
    began = time.monotonic()
    if (code := run(*command)) != 0:
        raise SystemExit(f"{' '.join(command)} fails in peace with exit code {code}: set FAULTS_LOG=<file> and read it")
    return time.monotonic() - began


def kill_stage(place: Place, stage: str, kills: int, duration: float, generator: random.Random) -> dict[str, object]:
    """Kill a stage that takes so many seconds again and again, in its midst so many times, and let it run in peace at the end."""
    wrong: list[str] = []
    ended = 0
    for turn in itertools.count(2):
        if turn - 2 - ended == kills:
            break
        command = place.command(stage, turn)
        if stage == "train" and (unfinished := place.unfinished()) is not None:
            command = ("train", f"resume={unfinished}")
        if stage == "fetch":
            (place.folder / "raw" / "posts.jsonl").unlink(missing_ok=True)
        code = run(*command, kill_after=generator.uniform(0, duration))
        ended += code == 0
        if code not in (0, -signal.SIGKILL):
            wrong.append(f"exit code {code} on turn {turn}")
        if (complaint := place.wrong(stage)) is not None:
            wrong.append(complaint)
    again = [run(*place.command(stage, turn))]
    while stage == "train" and (unfinished := place.unfinished()) is not None:
        again.append(run("train", f"resume={unfinished}"))
        if again[-1]:
            break
    if (complaint := place.wrong(stage)) is not None:
        wrong.append(complaint)
    left = [path.name for path in place.folder.rglob(".*partial-*")]
    return {"kills": kills, "ended_before": ended, "seconds": round(duration, 1), "wrong": wrong, "rerun": max(again), "left": len(left)}


@contextmanager
def disk_of(folder: Path, kib: int) -> Iterator[Path]:
    """A file system that holds so many KiB."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)
        disk.rmdir()


def fill_disk(place: Place, stage: str, sizes: int) -> dict[str, object]:
    """Run a stage on disks with room for a share of what it writes beside its old result."""
    codes: list[int] = []
    wrong: list[str] = []
    result = {"data_prep": "data", "train": "runs/peace", "export": "releases/tiny", "evaluate": "releases/tiny", "publish": "published"}[
        stage
    ]
    old = [path.lstat() for path in (place.folder / result).rglob("*")]
    size = sum(4 + 4 * -(-status.st_size // 4096) for status in old)
    new = 3 * size if stage == "train" else size  # a run keeps up to three checkpoints
    for step in range(sizes):
        with disk_of(place.folder, size + 64 + new * step // sizes) as disk:
            shutil.copytree(place.folder / result, disk / result, symlinks=True)
            codes.append(run(*place.command(stage, step + 1, disk)))
            if codes[-1] not in (0, 2):
                wrong.append(f"exit code {codes[-1]} with room for {step}/{sizes}")
            if (complaint := place.wrong(stage, disk)) is not None:
                wrong.append(complaint)
    return {"disks": sizes, "ended_well": codes.count(0), "refused": codes.count(2), "wrong": wrong}


def break_off(path: Path) -> None:
    """Cut a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def turn_bit(path: Path, generator: random.Random) -> None:
    """Turn one bit of a file."""
    content = bytearray(path.read_bytes())
    if content:
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(bytes(content))


def damage(place: Place, result: str, reader: str, most: int, generator: random.Random) -> dict[str, object]:
    """Damage the files of a result one by one, and run the stage that reads them."""
    folder = place.folder / result
    files = sorted(path for path in folder.resolve().rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    chosen = generator.sample(files, min(most, len(files)))
    codes: list[int] = []
    wrong: list[str] = []
    for path in chosen:
        for kind, harm in (("broken off", break_off), ("turned bit", functools.partial(turn_bit, generator=generator))):
            whole, times = path.read_bytes(), path.stat()
            harm(path)
            codes.append(run(*place.command(reader, 1)))
            if codes[-1] not in (0, 2):
                wrong.append(f"{path.relative_to(folder.resolve())} {kind}: exit code {codes[-1]}")
            if reader != "evaluate" and (complaint := place.wrong(reader)) is not None:
                wrong.append(f"{path.name} {kind}: {complaint}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(whole)
            os.utime(path, (times.st_atime, times.st_mtime))
    return {"faults": len(codes), "ended_well": codes.count(0), "refused": codes.count(2), "wrong": wrong}


def table(title: str, results: dict[str, dict[str, object]]) -> None:
    """Print one line per result."""
    if results:
        print(f"\n{title}")
    for name, result in results.items():
        print(f"{name:<28}" + "  ".join(f"{key} {len(value) if isinstance(value, list) else value}" for key, value in result.items()))
        for complaint in result["wrong"]:  # type: ignore[attr-defined]
            print(f"    {complaint}")
    sys.stdout.flush()


def main() -> None:
    """Kill, fill, damage, and look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=sum(SHARES.values()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", choices=("kills", "disk", "damage"), default=["kills", "disk", "damage"])
    parser.add_argument("--quick", action="store_true", help="one kill of each stage, two disks, three files")
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    shares = {stage: 1 if arguments.quick else -(-share * arguments.kills // sum(SHARES.values())) for stage, share in SHARES.items()}
    with tempfile.TemporaryDirectory() as name:
        handler: Callable[..., http.server.SimpleHTTPRequestHandler] = functools.partial(_Quiet, directory=f"{name}/served")
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            place = Place(Path(name), f"http://127.0.0.1:{server.server_port}")
            seconds = {stage: run_in_peace(*place.command(stage, 0)) for stage in ("fetch", "data_prep", "train")}
            run_in_peace(*place.command("train", 0), "name=peace")
            run_in_peace(*place.command("train", 0), "name=other", "trainer.seed=2")
            run_in_peace(*place.command("export", 1), "release=other")
            seconds |= {stage: run_in_peace(*place.command(stage, 0)) for stage in ("export", "evaluate", "publish")}
            kept = Path(shutil.copytree(place.data, place.folder / "kept"))
            kills: dict[str, dict[str, object]] = {}
            disks: dict[str, dict[str, object]] = {}
            damages: dict[str, dict[str, object]] = {}
            for stage, share in shares.items() if "kills" in arguments.parts else ():
                kills[stage] = kill_stage(place, stage, share, seconds[stage], generator)
                table("killed", {stage: kills[stage]})
                if stage == "data_prep":
                    shutil.rmtree(place.data)
                    shutil.copytree(kept, place.data)  # what the runs were trained on
            if os.geteuid() == 0 and "disk" in arguments.parts:
                disks = {stage: fill_disk(place, stage, 2 if arguments.quick else 5) for stage in SHARES if stage != "fetch"}
            table("full disk", disks)
            most = 3 if arguments.quick else 10
            pairs = {
                "data/mine by data_prep": ("data/mine", "data_prep"),
                "data/.cache by data_prep": ("data/.cache", "data_prep"),
                "data/mine by train": ("data/mine", "train"),
                "runs/other/latest by export": ("runs/other/latest", "export"),
                "artifact by evaluate": ("releases/tiny/artifact", "evaluate"),
                "report by evaluate": ("releases/tiny/report", "evaluate"),
                "artifact by publish": ("releases/other/artifact", "publish"),
            }
            if "damage" in arguments.parts:
                damages = {title: damage(place, result, reader, most, generator) for title, (result, reader) in pairs.items()}
            table("damaged", damages)
            server.shutdown()
    everything = [*kills.values(), *disks.values(), *damages.values()]
    wrong = sum(len(result["wrong"]) for result in everything) + sum(result["rerun"] != 0 for result in kills.values())  # type: ignore[misc, arg-type]
    summary = {
        "kills": sum(int(str(result["kills"])) for result in kills.values()),
        "disks": sum(int(str(result["disks"])) for result in disks.values()),
        "damages": sum(int(str(result["faults"])) for result in damages.values()),
        "wrong": wrong,
    }
    print(json.dumps(summary))
    sys.exit(wrong > 0)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    main()
