"""Figures per source, language and head of one or more evaluated runs, as docs/results.md prints them.

python benchmarks/research_figures.py --data data/research runs/research_offline/*/report [releases/<release>/report ...]

Each folder is a report that `python -m evaluate` wrote on that data. Prints one Markdown row per source, language and
head (mean and, from two reports up, standard deviation), then the highest false-positive rate of any language on neutral
text. The last line is JSON.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[0] = str(REPOSITORY)

from data_prep.table import load_examples  # noqa: E402
from train.loss import MASKED  # noqa: E402
from train.tokenised import label_matrix  # noqa: E402

FIGURES = ("f1", "auroc", "auprc", "fpr")


def figures(report: Path, data: Path) -> Iterator[dict[str, object]]:
    """One row per source, language (and all of a source's languages together) and head, of the rows that the report scored."""
    scored = pd.read_parquet(report / "predictions.parquet").set_index("id")
    heads = [column.removeprefix("probability/") for column in scored if column.startswith("probability/")]
    table = load_examples(data)
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
            values = (
                f1_score(truth, flags, zero_division=0),
                roc_auc_score(truth, probabilities) if both else np.nan,
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
    table = pd.DataFrame([row for report in arguments.reports for row in figures(report, arguments.data)])
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
