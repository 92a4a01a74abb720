"""How often `detect_language` is right on real rows of known language, what the normaliser would cost it, and its speed.

python benchmarks/language_identification.py [--data-root FOLDER] [--quick]

FOLDER holds the downloaded sets of configs/mixture/research.yaml. Prints, and never shows a text: per source and
declared language the share of checkable rows that agree, as received and after `data_prep.normaliser`; the recall of
romanised Urdu on the code-switched set; how often Latin-script rows of other languages are taken for romanised Urdu,
Hindi or Bengali; texts per second on one core; and, last, one line of JSON.

What the figures are not: declared languages are themselves noisy (tweets quote other languages); the rule was tuned
on the code-switched set's train split, and words that misfired on the German, English and Indonesian rows were taken
off its list, so only that set's other splits and the other languages are unseen; no set of romanised Hindi or Bengali
is at hand: those two are only tested on this project's own sentences.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from hydra import compose, initialize_config_dir

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # or `data_prep` would be the benchmark of that name

from data_prep.engine import Sequential  # noqa: E402
from data_prep.ingest import ingest  # noqa: E402
from data_prep.language import detect_language, language_report  # noqa: E402
from data_prep.settings import DataPrepSettings, register_schemas, to_settings  # noqa: E402

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
ROMANISED = ("ur-Latn", "hi-Latn", "bn-Latn")


def read_examples(data_root: str) -> list[dict[str, Any]]:
    """Every usable row of the research mixture, with its declared language."""
    register_schemas()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("data_prep", ["mixture=research", f"data_root={data_root}"])
    settings: DataPrepSettings = to_settings(config, DataPrepSettings)
    examples = []
    with tempfile.TemporaryDirectory() as settings.data_dir:
        for source in settings.mixture.sources.values():
            table = ingest(source, settings, Sequential()).table.select(["language", "text", "normalised"])
            examples += [{**row, "source": source.name} for row in table.to_pylist()]
    return examples


def report(examples: list[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    """`language_report` with the language detected in `column`."""
    return language_report(Counter((row["source"], row["language"], detect_language(row[column])[0]) for row in examples))


def agreement(cell: dict[str, Any]) -> float | None:
    """The share of checkable rows that agree, in per cent."""
    checkable = cell["agree"] + cell["disagree"]
    return round(100 * cell["agree"] / checkable, 1) if checkable else None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default="data/raw", help="the folder that holds the downloaded sets")
    parser.add_argument("--quick", action="store_true", help="every tenth row only")
    arguments = parser.parse_args()
    examples = read_examples(arguments.data_root)[:: 10 if arguments.quick else 1]

    received, normalised = report(examples, "text"), report(examples, "normalised")
    print(f"{'source':<28}{'declared':<10}{'agree':>7}{'disagree':>10}{'unchecked':>11}{'agree %':>9}{'normalised %':>14}  detected")
    for cell, folded in zip(received, normalised, strict=True):
        shares = (f"{share:.1f}" if share is not None else "–" for share in (agreement(cell), agreement(folded)))
        detected = ", ".join(f"{code} {count}" for code, count in cell["detected"].items())
        print(
            f"{cell['source']:<28}{cell['language']:<10}{cell['agree']:>7}{cell['disagree']:>10}{cell['not_checkable']:>11}"
            "{:>9}{:>14}".format(*shares)
            + f"  {detected}"
        )

    started = time.process_time()
    codes = [detect_language(example["text"])[0] for example in examples]
    speed = round(len(examples) / (time.process_time() - started))
    letters = sum(len(example["text"]) for example in examples) / len(examples)

    recall = defaultdict[str, list[bool]](list)
    mistaken = defaultdict[str, list[bool]](list)
    for example, code in zip(examples, codes, strict=True):
        if example["language"] == "ur-Latn":
            recall[example["split"]].append(code == "ur-Latn")
        elif example["script"] == "Latn":
            mistaken[example["language"]].append(code in ROMANISED)
    print(f"\n{'code-switched set, split':<32}{'rows':>7}{'ur-Latn':>9}{'recall %':>10}")
    for split, hits in sorted(recall.items()):
        print(f"{split:<32}{len(hits):>7}{sum(hits):>9}{100 * mean(hits):>10.1f}")
    print(f"\n{'other Latin-script rows':<32}{'rows':>7}{'romanised':>11}{'per 1,000':>11}")
    for language, hits in sorted(mistaken.items()):
        print(f"{language:<32}{len(hits):>7}{sum(hits):>11}{1000 * mean(hits):>11.2f}")
    print(f"\n{speed:,} texts/s on one core, {letters:.0f} characters a text\n")
    print(
        json.dumps(
            {
                "rows": len(examples),
                "agreement_percent": {f"{cell['source']}/{cell['language']}": agreement(cell) for cell in received},
                "agreement_percent_normalised": {f"{cell['source']}/{cell['language']}": agreement(cell) for cell in normalised},
                "ur_latn_recall": {split: round(mean(hits), 4) for split, hits in sorted(recall.items())},
                "taken_for_romanised_per_1000": {language: round(1000 * mean(hits), 2) for language, hits in sorted(mistaken.items())},
                "texts_per_second": speed,
            }
        )
    )


if __name__ == "__main__":
    main()
