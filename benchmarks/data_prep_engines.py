"""Do all engines publish the same table, and what does each cost? One process, this machine's cores, Ray.

python benchmarks/data_prep_engines.py [--quick]

Prepares 100 thousand synthetic posts (those of benchmarks/data_prep.py; --quick: 20 thousand) with one worker, with two
local workers and with two Ray workers on this machine, compares ids, families and splits, and prints the seconds of each
and, last, one line of JSON. Ray's seconds include starting it.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # or `data_prep` would be a benchmark

from benchmarks.data_prep import settings_for, write_posts  # noqa: E402
from benchmarks.near_duplicates import synthetic_posts  # noqa: E402
from data_prep.pipeline import prepare  # noqa: E402
from data_prep.settings import EngineSettings  # noqa: E402
from data_prep.table import load_examples  # noqa: E402

ENGINES = {
    "one process": EngineSettings(workers=1),
    "two local workers": EngineSettings(workers=2),
    "two Ray workers": EngineSettings("ray", workers=2),
}


def main() -> None:
    """Prepare with each engine, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 thousand posts")
    size = 20_000 if parser.parse_args().quick else 100_000
    seconds, tables = {}, []
    with tempfile.TemporaryDirectory() as name:
        write_posts(Path(name) / "posts.jsonl", synthetic_posts(size)[0])
        for engine, settings in ENGINES.items():
            data_dir = Path(name) / engine.replace(" ", "-")
            started = time.perf_counter()
            with contextlib.redirect_stderr(io.StringIO()):  # progress bars
                folder = prepare(replace(settings_for(Path(name)), engine=settings, data_dir=str(data_dir)))
            seconds[engine] = round(time.perf_counter() - started, 1)
            tables.append(load_examples(folder).select_columns(["id", "text", "family", "split"]).to_pandas())
            print(
                f"{engine:>20}: {seconds[engine]:7.1f} s, {len(tables[-1]):,} rows, {tables[-1]['family'].nunique():,} families", flush=True
            )
    same = all(table.equals(tables[0]) for table in tables)
    print("the tables are the same" if same else "THE TABLES DIFFER")
    print(json.dumps({"posts": size, "same": same, "seconds": seconds}))
    sys.exit(not same)


if __name__ == "__main__":
    main()
