"""Figures per source, language and head of one or more evaluated runs, as docs/results.md prints them.

python benchmarks/research_figures.py --data data/research runs/research_offline/*/report [releases/<release>/report ...]

Each folder is a report that `python -m evaluate` wrote on that data. Prints one Markdown row per source, language and
head (mean and, from two reports up, standard deviation; beside the model's AUROC that of a plain model of characters, learnt from the
language's training rows of all sources), then the highest false-positive rate of any language on neutral text. The last line is JSON.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[0] = str(REPOSITORY)

from data_prep.files import read_json  # noqa: E402
from data_prep.table import load_examples  # noqa: E402
from evaluate.baselines import ngram_scores, plain_text  # noqa: E402
from train.labels import MASKED, label_matrix  # noqa: E402

FIGURES = ("f1", "auroc", "ngram_auroc", "auprc", "fpr")


def plain_scores(table: Dataset, heads: list[str]) -> pd.DataFrame:
    """Per row and head what a plain model of characters, learnt from the language's training rows, says of a test row; else NaN."""
    texts, labels = np.asarray([plain_text(text) for text in table["text"]], dtype=object), label_matrix(table, heads)
    splits, languages = np.asarray(table["split"]), np.asarray(table["language"])
    found = np.full(labels.shape, np.nan)
    for head, language in product(range(len(heads)), np.unique(languages)):
        judged = (languages == language) & (labels[:, head] != MASKED)
        train, test = (np.flatnonzero(judged & (splits == split)) for split in ("train", "test"))
        if len(test):
            scores = ngram_scores(texts[train].tolist(), labels[train, head], texts[test].tolist())
            found[test, head] = np.nan if scores is None else scores
    return pd.DataFrame(found, columns=heads, index=table["id"])


def figures(report: Path, table: Dataset, plain: pd.DataFrame) -> Iterator[dict[str, object]]:
    """One row per source, language (and all of a source's languages together) and head, of the rows that the report scored."""
    scored = pd.read_parquet(report / "predictions.parquet").set_index("id")
    heads = [column.removeprefix("probability/") for column in scored if column.startswith("probability/")]
    labels = pd.DataFrame(label_matrix(table, heads), columns=heads, index=table["id"])
    rows = pd.DataFrame({name: table[name] for name in ("source", "language", "sense")}, index=table["id"])
    rows, labels = rows.loc[scored.index], labels.loc[scored.index]
    for head in heads:
        judged = labels[head] != MASKED
        neutral = judged & np.asarray([sense[head] == "neutral" for sense in rows["sense"]])
        for (source, language), here in _groups(rows[judged & ~neutral]):
            truth = labels.loc[here, head] == 1
            flags, probabilities = scored.loc[here, f"flagged/{head}"], scored.loc[here, f"probability/{head}"]
            both = truth.nunique() == 2
            by_characters = plain.loc[here, head]
            values = (
                f1_score(truth, flags, zero_division=0),
                roc_auc_score(truth, probabilities) if both else np.nan,
                roc_auc_score(truth, by_characters) if both and language != "all" and by_characters.notna().all() else np.nan,
                average_precision_score(truth, probabilities) if both else np.nan,
                flags[~truth].mean(),
            )
            counts = {"rows": len(here), "positive": int(truth.sum())}
            yield {"source": source, "language": language, "head": head, **counts, **dict(zip(FIGURES, values, strict=True))}
        spoken = rows[neutral].groupby("language").groups
        rates = {language: float(scored.loc[here, f"flagged/{head}"].mean()) for language, here in spoken.items()}
        if rates:
            worst = max(rates, key=lambda language: rates[language])
            counts = {"rows": int(neutral.sum()), "positive": 0}
            yield {"source": "neutral text, its worst language", "language": "", "head": head, **counts, "fpr": rates[worst]}
            print(f"{report}: {head} flags most neutral text in {worst}: {rates[worst]:.2%}")


def _groups(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.Index]]:
    for source, mine in rows.groupby("source"):
        languages = mine.groupby("language").groups
        yield from (((str(source), str(language)), here) for language, here in languages.items())
        if len(languages) > 1:
            yield (str(source), "all"), mine.index


def main() -> None:
    """Read the reports and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the prepared mixture")
    parser.add_argument("reports", type=Path, nargs="+")
    arguments = parser.parse_args()
    examples = load_examples(arguments.data)
    plain = plain_scores(examples, sorted(read_json(arguments.data / "manifest.json")["heads"]))
    table = pd.DataFrame([row for report in arguments.reports for row in figures(report, examples, plain)])
    keys = ["head", "source", "language", "rows", "positive"]
    grouped = table.groupby(keys)[list(FIGURES)].agg(["mean", "std"])
    print(f"\n| {' | '.join([*keys, *FIGURES])} |\n|{'---|' * (len(keys) + len(FIGURES))}")
    for key, row in grouped.iterrows():
        print(f"| {' | '.join(map(str, key))} | {' | '.join(_cell(row[name, 'mean'], row[name, 'std']) for name in FIGURES)} |")
    means = table.groupby(keys[:3])[list(FIGURES)].mean().round(4)
    print(json.dumps({"/".join(map(str, key)): row.dropna().to_dict() for key, row in means.iterrows()}))


def _cell(mean: float, deviation: float) -> str:
    if np.isnan(mean):
        return "–"
    return f"{mean:.3f}" if np.isnan(deviation) else f"{mean:.3f} ± {deviation:.3f}"


if __name__ == "__main__":
    main()
