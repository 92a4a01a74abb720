"""Coverage-guided fuzzing of what reads strangers' bytes: the readers, the mapping of rows, the client of a release.

pip install atheris && python benchmarks/fuzz.py [--seconds 120] [--target readers rows client] [--quick]

atheris (libFuzzer for Python; no dependency of the project) changes inputs so that lines are reached which no input reached before.
Broken rules end it: a reader may raise nothing but `UserError`, a row becomes an example or a `Rejection`, the normaliser is done
once, and the client answers each line that is not blank with one JSON object. Prints per target how many inputs were run and how many edges
they covered and, last, one line of JSON; exit code 1 with the input, if a rule was broken.
"""

import argparse
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # or `data_prep` would be a benchmark

from data_prep.command import UserError  # noqa: E402
from data_prep.mapping import Rejection, check_columns, to_example  # noqa: E402
from data_prep.normaliser import normalise  # noqa: E402
from data_prep.readers import Malformed, read_rows  # noqa: E402
from data_prep.settings import ReaderSettings, SourceSettings, ValueSettings  # noqa: E402
from export.client import Classifier, answer_lines  # noqa: E402

NAMES = ("a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.arrow", "a.xlsx", "a.csv.gz", "a.jsonl.zst", "a")
SEEDS = {
    "readers": [b"\0text,label\nrain,1\n", b'\x02{"text": "rain"}\n', b'\x03[{"text": "rain"}]', b"\x01text\tlabel\nrain\t1\n"],
    "rows": [b'{"text": "rain"}', '{"text": "\\u200bﻣﻴﮟ </s>", "label": "1", "day": "2024-02-29"}'.encode()],
    "client": [b'{"text": "rain", "language": "en"}\n', b'{"text": "\\ud800"}\n\n[1]\n'],
}
SOURCE = SourceSettings(
    name="posts", title="t", origin="o", licence="l", files="a", text="text", family="group",
    language=ValueSettings(column="lang"), split=ValueSettings(column="split"),
    labels={"propaganda": {"label": {"1": 1, "0": 0, "": None}}}, attributes={"date": ValueSettings(column="day")},
)  # fmt: skip


def readers(folder: Path) -> Callable[[bytes], None]:
    """The first byte chooses the file's name, the others are its content."""

    def check(data: bytes) -> None:
        name = NAMES[(data[0] if data else 0) % len(NAMES)]
        (folder / name).write_bytes(data[1:])
        try:
            for row in read_rows(folder, name, ReaderSettings(format="csv" if name == "a" else None)):
                assert isinstance(row, Malformed) or all(isinstance(key, str) for key in row)
        except UserError:
            pass
        finally:
            (folder / name).unlink()

    return check


def rows(folder: Path) -> Callable[[bytes], None]:
    """A JSON object is a row; anything else is the text of one."""

    def check(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            row = text
        row = row if isinstance(row, dict) else {"text": text, "label": "1"}
        with contextlib.suppress(UserError):
            check_columns(row, SOURCE)
        try:
            example = to_example(row, SOURCE, ["propaganda"])
        except Rejection:
            return
        assert example["propaganda"] in (0, 1, None)
        assert example["text"].encode("utf-8")
        assert normalise(example["normalised"]) == example["normalised"]

    return check


def client(folder: Path) -> Callable[[bytes], None]:
    """Lines to the client of a release in `folder`."""
    classifier = Classifier(folder)

    def check(data: bytes) -> None:
        lines = data[:4000].decode("utf-8", "replace").split("\n")
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            answer_lines(classifier, lines)
        answers = [json.loads(line) for line in said.getvalue().splitlines()]
        assert len(answers) == sum(bool(line.strip()) for line in lines)
        assert all(isinstance(one, dict) for one in answers)

    return check


TARGETS: dict[str, Callable[[Path], Callable[[bytes], None]]] = {"readers": readers, "rows": rows, "client": client}


def fuzz(target: str, seconds: int, folder: Path) -> None:
    """Run one target in this process, which libFuzzer ends."""
    import atheris

    check = TARGETS[target](folder)
    for module in ("data_prep.readers", "data_prep.detection", "data_prep.compression", "data_prep.mapping", "data_prep.normaliser"):
        for value in vars(sys.modules[module]).values():
            if callable(value) and getattr(value, "__module__", "") == module and hasattr(value, "__code__"):
                atheris.instrument_func(value)
    for value in (answer_lines, *(vars(sys.modules["export.client"])[name] for name in ("read_post", "decide"))):
        atheris.instrument_func(value)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS[target]):
        (corpus / str(number)).write_bytes(seed)
    options = ["-print_final_stats=1", f"-max_total_time={seconds}", "-max_len=4096", f"-artifact_prefix={folder}/", "-seed=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], check)
    atheris.Fuzz()


def small_release(folder: Path) -> Path:
    """The artifact of a tiny model, made by the stages themselves."""
    common = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    places = (f"data_dir={folder}/data", f"runs_dir={folder}/runs")
    tiny = ("encoder=tiny", "trainer.max_steps=2", "trainer.trackers=[]", "projection.steps=1", "projection.texts=20", "name=tiny")
    export = ("export", f"run={folder}/runs/tiny/latest", "release=tiny", f"releases_dir={folder}/releases", "variants=[]")
    for command in (("train", *tiny, *places), export):
        subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=common, check=True, stdout=subprocess.DEVNULL)
    return folder / "releases" / "tiny" / "artifact"


def main() -> None:
    """Fuzz each target for a bounded time in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120, help="for each target")
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--quick", action="store_true", help="five seconds for each target")
    parser.add_argument("--inside", metavar="FOLDER", help=argparse.SUPPRESS)  # how it calls itself
    arguments = parser.parse_args()
    seconds = 5 if arguments.quick else arguments.seconds
    if arguments.inside:
        fuzz(arguments.target[0], seconds, Path(arguments.inside))
    results: dict[str, dict[str, int]] = {}
    failed = False
    for target in arguments.target:
        with tempfile.TemporaryDirectory() as name:
            folder = small_release(Path(name)) if target == "client" else Path(name)
            command = [sys.executable, __file__, "--target", target, "--seconds", str(seconds), "--inside", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            inputs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
            edges = re.findall(r" cov: (\d+) ft: \d+ corp: (\d+)", done.stderr)
            if inputs is None or not edges:
                sys.exit(f"{target} did not run: {done.stderr[-2000:]}")
            results[target] = {"inputs": int(inputs[1]), "edges": int(edges[-1][0]), "kept": int(edges[-1][1]), "failed": done.returncode}
            verdict = "FAILED" if done.returncode else "no rule broken"
            print(f"{target:<10}{inputs[1]:>9} inputs  {edges[-1][0]:>5} edges  {edges[-1][1]:>5} kept  {verdict}")
            if done.returncode:
                failed = True
                crashes = [path.read_bytes() for path in folder.glob("crash-*")]
                print(done.stderr[-3000:], crashes, sep="\n")
    print(json.dumps({"seconds": seconds, **results}))
    sys.exit(failed)


if __name__ == "__main__":
    main()
