"""What `prepare` costs from files to a published table, for 10 thousand, 100 thousand and 1 million posts.

python benchmarks/data_prep.py [--quick]

The posts are those of benchmarks/near_duplicates.py (about 100 characters in Latin, Cyrillic and Arabic letters, one
in ten of them a near duplicate of another), written as JSON lines with a random label. Measured is the whole road:
reading, normalising, script and language, duplicates, the near-duplicate search, splits, the leakage audit with its
second search, and publication. Prints per size the seconds, rows per second, the peak of the memory that all of its
processes hold together (Linux's proportional set size, sampled: a page that two processes share counts once), recall
(the share of planted copies of at least 0.8 similarity that share their original's family) and precision (the share
of rows in families of several that belong there: compared anew and all with all, they are one chain of such similarity with
most of their family) and, last, one line of JSON. Similarity is that of the normalised texts, as everywhere.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # or `data_prep` would be this file

from benchmarks.near_duplicates import similar, synthetic_posts  # noqa: E402
from data_prep.normaliser import normalise  # noqa: E402
from data_prep.pipeline import prepare  # noqa: E402
from data_prep.settings import DataPrepSettings, HeadSettings, MixtureSettings, ReaderSettings, SourceSettings, ValueSettings  # noqa: E402
from data_prep.table import load_examples  # noqa: E402


class PeakMemory(threading.Thread):
    """The most memory that this process and its children held at once, in GiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.gib = 0.0
        self._ended = threading.Event()

    def run(self) -> None:
        """Look four times a second."""
        while not self._ended.wait(0.25):
            held = 0
            for process in (own := psutil.Process(), *own.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    held += process.memory_full_info().pss
            self.gib = max(self.gib, held / 2**30)

    def stop(self) -> float:
        """End looking."""
        self._ended.set()
        self.join()
        return self.gib


def settings_for(folder: Path) -> DataPrepSettings:
    """A mixture of one source of JSON lines."""
    source = SourceSettings(
        name="posts",
        title="Synthetic posts",
        origin="benchmarks/near_duplicates.py",
        licence="Apache-2.0",
        files="posts.jsonl",
        reader=ReaderSettings(format="jsonl"),
        text="text",
        language=ValueSettings(value="und"),
        labels={"propaganda": {"label": {"1": 1, "0": 0}}},
    )
    mixture = MixtureSettings(name="posts", sources={"posts": source}, mask_conflicts=False)
    return DataPrepSettings(mixture, {"propaganda": HeadSettings("?")}, str(folder), str(folder / "data"))


def write_posts(path: Path, texts: list[str]) -> None:
    """JSON lines with a random label."""
    generator = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps({"text": text, "label": generator.randint(0, 1)}, ensure_ascii=False) + "\n")


def run(folder: Path) -> dict[str, float]:
    """Prepare what lies in the folder; seconds and peak memory."""
    memory = PeakMemory()
    memory.start()
    started = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        prepare(settings_for(folder))
    return {"seconds": time.perf_counter() - started, "peak_gib": memory.stop()}


def largest_chain(group: list[str]) -> int:
    """How many of a family's texts are joined by similar ones; 0 if no two are similar."""
    left, largest = set(group), 0
    while left:
        chain = [left.pop()]
        for text in chain:  # it grows meanwhile
            near = {other for other in left if similar(text, other)}
            left -= near
            chain += near
        largest = max(largest, len(chain))
    return largest if largest > 1 else 0


def measure(size: int) -> dict[str, float]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts, planted = synthetic_posts(size)
        write_posts(folder / "posts.jsonl", texts)
        # A fresh process, which does not hold the posts and whose memory is its own.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            cost = pool.submit(run, folder).result()
        started = time.perf_counter()
        prepare(settings_for(folder))
        again = time.perf_counter() - started
        kept = load_examples(folder / "data" / "posts").select_columns(["text", "family"]).to_pandas()
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        texts = list(pool.map(normalise, texts, chunksize=5_000))
        family = dict(zip(pool.map(normalise, kept["text"], chunksize=5_000), kept["family"], strict=True))  # a copy dropped has its twin's
    pairs = [(texts[a], texts[b]) for a, b in planted]
    # a text whose identical copies carry opposite labels is in no table, and so has no family
    wanted = [(one, other) for one, other in pairs if one in family and other in family and similar(one, other)]
    members = defaultdict(list)
    for text, name in family.items():
        members[name].append(text)
    groups = [group for group in members.values() if len(group) > 1]
    return {
        "posts": size,
        "seconds": round(cost["seconds"], 1),
        "rows_per_s": round(size / cost["seconds"]),
        "again_s": round(again, 1),
        "peak_gib": round(cost["peak_gib"], 2),
        "recall": round(sum(family[a] == family[b] for a, b in wanted) / len(wanted), 5),
        "precision": round(sum(map(largest_chain, groups)) / sum(map(len, groups)), 5),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without the million posts")
    sizes = [10_000, 100_000] if parser.parse_args().quick else [10_000, 100_000, 1_000_000]
    columns = ("posts", "seconds", "rows_per_s", "again_s", "peak_gib", "recall", "precision")
    print("".join(f"{column:>12}" for column in columns))
    results = []
    for size in sizes:
        results.append(measure(size))
        print("".join(f"{results[-1][column]:>12,}" for column in columns), flush=True)
    last = results[-1]
    summary = {key: last[key] for key in ("rows_per_s", "peak_gib", "recall", "precision")}
    print(json.dumps({**summary, "seconds_1m": last["seconds"] if last["posts"] == 1_000_000 else None, "results": results}))


if __name__ == "__main__":
    main()
