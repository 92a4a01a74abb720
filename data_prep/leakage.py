"""The leakage audit: whether anything a model would learn from comes back in what it is measured on. A report and a gate.

It does not trust how the splits were made. It reads the rows as they are about to be published, or were, and searches them
once more for near duplicates, with other hash functions than the search that made the families.

`python -m data_prep.leakage mixture=...` audits a published mixture again, for instance when its held-out sets have changed.
"""

import sys
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
from omegaconf import DictConfig

from data_prep.command import run_stage, user_errors
from data_prep.duplicates import components
from data_prep.engine import Engine, open_engine
from data_prep.files import read_json
from data_prep.ingest import ingest
from data_prep.lock import alone_in
from data_prep.near_duplicates import near_duplicate_pairs
from data_prep.normaliser import normalise
from data_prep.settings import DataPrepSettings, MixtureSettings, register_schemas, to_settings
from data_prep.table import SPLITS, load_examples

SEED = 43  # the families' search has another


def audit(rows: pd.DataFrame, mixture: MixtureSettings, engine: Engine, folder: Path | None = None) -> dict[str, Any]:
    """Look for what crosses from training into evaluation.

    Parameters
    ----------
    rows
        With `source`, `split`, `family` and `normalised`; rows of held-out sets are of the split `held_out`.
    folder
        Where `near_duplicate_pairs` may keep its work.

    Returns
    -------
    `families_across_splits`; `test_rows` (held-out ones included) and how many of them are `identical` to a row of training
    or validation or have a `near` duplicate there; `twins`, those rows of training and validation by source; `share`, the
    test rows with a near duplicate there; `passes`, whether no family crosses, none is identical and the share is allowed.
    """
    pairs = near_duplicate_pairs(rows["normalised"].tolist(), mixture.near_duplicate, engine=engine, folder=folder, seed=SEED)
    evaluated = rows["split"].isin(["test", "held_out"])
    learned = ~evaluated
    group = pd.Series(components(len(rows), np.array(pairs, dtype=np.int64).reshape(-1, 2)), index=rows.index)
    near = evaluated & group.isin(group[learned])
    twins = rows["source"][learned & group.isin(group[evaluated])]
    side = rows["split"].mask(evaluated, "test")
    report: dict[str, Any] = {
        "families_across_splits": int((side.groupby(rows["family"]).nunique() > 1).sum()),
        "test_rows": int(evaluated.sum()),
        "identical": int((evaluated & rows["normalised"].isin(rows["normalised"][learned])).sum()),
        "near": int(near.sum()),
        "twins": {str(source): int(count) for source, count in twins.value_counts(sort=False).items() if count},
        "share": int(near.sum()) / max(int(evaluated.sum()), 1),
        "allowed_share": mixture.max_leaking,
    }
    clean = not report["families_across_splits"] and not report["identical"]
    return {**report, "passes": clean and report["share"] <= mixture.max_leaking}


def removed(leaking: pd.DataFrame, kept: pd.DataFrame) -> list[dict[str, Any]]:
    """How many rows of which source left training or validation because of how many rows of which source.

    Parameters
    ----------
    leaking, kept
        The rows taken out, with the source they would leak `against`, and those that stay (see `splits.drop_leaking`).
    """
    report = []
    for _, rows in leaking.groupby(["source", "official", "against"], observed=True):
        source, official, against = rows[["source", "official", "against"]].iloc[0]
        higher = kept["split"].isin(SPLITS[::-1][: int(official)])
        relatives = kept["family"].isin(rows["family"]) & (kept["source"] == against) & higher
        names = {"source": str(source), "split": SPLITS[::-1][int(official)], "against": str(against)}
        report.append({**names, "rows": len(rows), "like": int(relatives.sum())})
    return report


def render(name: str, leakage: dict[str, Any]) -> str:
    """The audit as Markdown: counts and verdict, no text."""
    lines = [
        f"# Leakage audit: {name}",
        "",
        f"**{'Passes' if leakage['passes'] else 'FAILS'}.** A search of its own over the published rows, with other hash functions "
        "than the one that made the families.",
        "",
        "| check | found | allowed |",
        "|---|---:|---:|",
        f"| families in more than one split | {leakage['families_across_splits']:,} | 0 |",
        f"| test rows whose text is also in training or validation | {leakage['identical']:,} | 0 |",
        f"| test rows with a near duplicate in training or validation | {leakage['near']:,} of {leakage['test_rows']:,} "
        f"({leakage['share']:.3%}) | {leakage['allowed_share']:.3%} |",
        "",
    ]
    if leakage["twins"]:
        lines += ["Their twins are rows of " + ", ".join(f"{source} ({count:,})" for source, count in leakage["twins"].items()) + ".", ""]
    lines += ["## Removed before", ""]
    if not leakage.get("removed"):
        return "\n".join([*lines, "Nothing: no official training row had a relative in a test or held-out set."]) + "\n"
    lines += ["Rows that left their official split because a relative is evaluated on. No test row was dropped.", ""]
    lines += ["| source | official split | rows | would leak against rows of | that many |", "|---|---|---:|---|---:|"]
    lines += [
        f"| {row['source']} | {row['split']} | {row['rows']:,} | {row['against']} | {row.get('like', '–')} |" for row in leakage["removed"]
    ]
    return "\n".join(lines) + "\n"


@hydra.main(config_path="../configs", config_name="leakage", version_base="1.3")
def main(config: DictConfig) -> None:
    """Audit the published table of `mixture=...` against its held-out sets as they are now; exit code 1 if it fails."""
    with user_errors():
        settings: DataPrepSettings = to_settings(config, DataPrepSettings)
        folder = Path(settings.data_dir) / settings.mixture.name
        load_examples(folder)  # a mistyped name makes no folder to lock
        with alone_in(Path(settings.data_dir)), open_engine(settings.engine) as engine:
            table = load_examples(folder)
            rows = table.select_columns(["source", "split", "family", "text"]).to_pandas()
            rows["normalised"] = [normalise(text) for text in rows.pop("text")]
            for source in settings.mixture.held_out.values():
                held_out = ingest(source, settings, engine).table.select(["id", "normalised"]).to_pandas()
                rows = pd.concat([rows, held_out.rename(columns={"id": "family"}).assign(source=source.name, split="held_out")])
            report = audit(rows.reset_index(drop=True), settings.mixture, engine)
        print(render(settings.mixture.name, {**report, "removed": read_json(folder / "manifest.json")["leakage"]["removed"]}))
        if not report["passes"]:
            print(f"next: python -m data_prep mixture={settings.mixture.name}  (removes what leaks)", file=sys.stderr)
            sys.exit(1)


if __name__ == "__main__":
    register_schemas()
    run_stage(main)
