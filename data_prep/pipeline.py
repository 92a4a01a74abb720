"""From configured sources to a published Example table."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Dataset

from data_prep import leakage
from data_prep.command import REPOSITORY, GateError, UserError
from data_prep.datasheet import build_manifest, render_datasheet, render_datasheet_html
from data_prep.duplicates import assign_families, drop_copies, mask_contradictions, near_copies
from data_prep.engine import Engine, open_engine
from data_prep.files import publish_folder, read_json, sha256, write_json, write_text
from data_prep.ingest import Ingested, cache_key, code_version, ingest
from data_prep.language import language_report
from data_prep.limits import check_data_settings
from data_prep.lock import alone_in
from data_prep.mapping import content_hash
from data_prep.near_duplicates import near_duplicate_pairs
from data_prep.normaliser import normalise
from data_prep.settings import DataPrepSettings, MixtureSettings
from data_prep.splits import UNASSIGNED, assign_splits, drop_leaking, moved, without_training
from data_prep.table import SPLITS, example_schema, load_examples

MOST_WARNINGS = 5  # groups that one sentence names


def prepare(settings: DataPrepSettings) -> Path:
    """Prepare the mixture and publish `data/<mixture>/` atomically, unless nothing has changed since it was.

    Raises
    ------
    UserError
        If a setting is unusable, a source's files are missing or unreadable, a label value is unknown, nothing is left, or the
        leakage audit fails.
    """
    check_data_settings(settings)
    mixture, heads = settings.mixture, sorted(settings.heads)
    target = Path(settings.data_dir) / mixture.name
    inputs = _inputs(settings)
    with alone_in(Path(settings.data_dir)), open_engine(settings.engine) as engine:
        if _is_published(target, inputs):
            print(f"{target} is up to date: its sources, its configuration and the code are as they were")
            return target
        sources = [ingest(source, settings, engine) for source in (*mixture.sources.values(), *mixture.held_out.values())]
        work = Path(settings.data_dir) / ".cache"
        rows = row_frame(sources, mixture, heads)
        previous = _published_splits(rows, target, mixture)
        rows, copies = drop_copies(rows, heads, previous)
        pairs = near_duplicate_pairs(rows["normalised"].tolist(), mixture.near_duplicate, engine=engine, folder=work)
        rows = assign_families(rows, pairs, settings.salt)
        rows = assign_splits(rows, heads, mixture, previous)
        rows, leaking = drop_leaking(rows)
        rows = mask_contradictions(rows, heads, near_copies(rows), mixture.mask_conflicts)
        report = _audit(rows, leaking, mixture, engine, work)
        unjudged = rows[heads].isna().all(axis=1) & ~rows["held_out"] & rows["labelled"]
        rows, refused = rows[~unjudged], {"copies": copies, "leaking": leaking, "unjudged": rows[unjudged]}
        folder = _publish(target, inputs, settings, sources, rows, refused, report)
        _warn(rows, heads, previous)
        return folder


def row_frame(sources: Sequence[Ingested], mixture: MixtureSettings, heads: Sequence[str]) -> pd.DataFrame:
    """One line per ingested row, with what copies, families and splits are decided by; the index counts through all sources.

    `official` is the rank of the row's official split (0 test, 1 validation, 2 train, 3 none); the rows of held-out sets
    are official test rows, so that their relatives leave training as those of any test row do.
    """
    frames = []
    for ingested in sources:
        columns = ["id", "language", "normalised", "declared_family", "detected", "split", *heads]
        frame = ingested.table.select(columns).to_pandas().assign(source=ingested.source.name)
        frame["labelled"] = bool(ingested.source.labels)
        frame["held_out"] = ingested.source.name in {source.name for source in mixture.held_out.values()}
        frame["official"] = frame.pop("split").map({split: rank for rank, split in enumerate(SPLITS[::-1])}).fillna(UNASSIGNED)
        frame.loc[frame["held_out"], "official"] = 0
        frames.append(frame)
    rows: pd.DataFrame = pd.concat(frames, ignore_index=True)
    types = {"official": "int8", "source": "category", "language": "category", **dict.fromkeys(heads, "float32")}
    return rows.astype(types).assign(conflicts=0)


def _warn(rows: pd.DataFrame, heads: Sequence[str], previous: Mapping[str, str]) -> None:
    """Say which groups nobody can learn from, and how many texts are in another split than before."""
    rows = rows[~rows["held_out"]]
    if groups := without_training(rows, heads):
        shown = "; ".join(groups[:MOST_WARNINGS]) + (f"; and {len(groups) - MOST_WARNINGS} more" if len(groups) > MOST_WARNINGS else "")
        print(f"warning: nothing can be learnt of {shown}: their families are too few to have one in training; add rows")
    if changes := moved(rows, previous):
        shown = ", ".join(f"{count:,} from {before} to {after}" for (before, after), count in sorted(changes.items()))
        print(f"warning: texts are in another split than when last published: {shown}; figures from before do not compare")


def _inputs(settings: DataPrepSettings) -> str:
    """Changes with everything that the published table depends on."""
    sources = [*settings.mixture.sources.values(), *settings.mixture.held_out.values()]
    heads = sorted(settings.heads)
    keys = [cache_key(source, REPOSITORY if source.embedded else Path(settings.data_root), heads, settings.salt) for source in sources]
    return content_hash(json.dumps([asdict(settings.mixture), heads, keys, code_version()], sort_keys=True))


def _is_published(target: Path, inputs: str) -> bool:
    try:
        return read_json(target / "manifest.json")["inputs_sha256"] == inputs and len(load_examples(target)) > 0
    except (UserError, LookupError, TypeError):
        return False  # none there, or one that no later stage would take, which is made anew


def _published_splits(rows: pd.DataFrame, target: Path, mixture: MixtureSettings) -> Mapping[str, str]:
    """By id of a row, the split in which its text was last published, unless other fractions or another seed are asked for now.

    A row is known again by its id, or by its normalised text where the id that had it is gone: another copy stands for the
    text now, or its language was corrected. Rows of one text know what one of them knows.
    """
    if not (target / "manifest.json").is_file():
        return {}
    try:
        if read_json(target / "manifest.json").get("splitting") != _splitting(mixture):
            return {}
        table = load_examples(target)
    except UserError as error:
        print(f"{error}; rows whose split was a matter of chance may change it")
        return {}
    published = table.select_columns(["id", "split"]).to_pandas()
    gone = np.flatnonzero(~published["id"].isin(rows["id"]))
    texts = [normalise(text) for text in table.select(gone)["text"]]
    known = pd.concat(
        [
            rows[["id", "normalised"]].merge(published, on="id")[["normalised", "split"]],
            pd.DataFrame({"normalised": texts, "split": published["split"].to_numpy()[gone]}),
        ]
    )
    by_text = known.sort_values("split", key=lambda split: split.map(SPLITS[::-1].index)).drop_duplicates("normalised")
    found = rows["normalised"].map(by_text.set_index("normalised")["split"])
    return dict(zip(rows["id"][found.notna()], found.dropna(), strict=True))


def _splitting(mixture: MixtureSettings) -> list[float]:
    return [mixture.validation_fraction, mixture.test_fraction, mixture.split_seed]


def _audit(rows: pd.DataFrame, leaking: pd.DataFrame, mixture: MixtureSettings, engine: Engine, folder: Path) -> dict[str, Any]:
    published = rows.assign(split=rows["split"].mask(rows["held_out"], "held_out"))
    report = {**leakage.audit(published, mixture, engine, folder), "removed": leakage.removed(leaking, rows)}
    if not report["passes"]:
        raise GateError(
            f"the leakage audit fails: {report['near']} of {report['test_rows']} test rows have a near duplicate in training or "
            f"validation ({report['identical']} an identical text) and {report['families_across_splits']} families cross; "
            "nothing was published; raise mixture.max_leaking only if you can say why"
        )
    return report


def _publish(
    target: Path,
    inputs: str,
    settings: DataPrepSettings,
    sources: Sequence[Ingested],
    rows: pd.DataFrame,
    refused: Mapping[str, pd.DataFrame],
    report: dict[str, Any],
) -> Path:
    heads = sorted(settings.heads)
    kept = rows[~rows["held_out"]]
    if kept.empty:
        raise UserError(
            f"mixture {settings.mixture.name} has no row with a judgement left: check its sources' files and label mappings, "
            "and whether near duplicates contradict each other (mixture.mask_conflicts)"
        )
    table = _example_table(sources, kept, heads)
    refusals = _refusals(sources, refused)
    accounts = _accounts(settings, sources, kept, refused, refusals)
    with publish_folder(target) as folder:
        progress = datasets.is_progress_bar_enabled()
        datasets.disable_progress_bars()
        Dataset(table).save_to_disk(str(folder / "table"))
        if progress:
            datasets.enable_progress_bars()
        write_text(folder / "rejected.jsonl", "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in refusals))
        hashes = {path.name: sha256(path) for path in sorted((folder / "table").glob("*.arrow"))}
        config_hash = content_hash(json.dumps(asdict(settings.mixture), sort_keys=True))
        manifest = build_manifest(settings, accounts, table, config_hash, hashes)
        sizes = kept["family"].value_counts()
        manifest |= {
            "inputs_sha256": inputs,
            "splitting": _splitting(settings.mixture),
            "language_check": language_report(Counter(zip(kept["source"], kept["language"], kept["detected"], strict=True))),
            "leakage": report,
            "held_out": {
                source.name: {"licence": source.licence, "non_commercial": source.non_commercial}
                for source in settings.mixture.held_out.values()
            },
            "families": {
                "count": len(sizes),
                "largest": int(sizes.max()),
                "in_more_than_one_source": int((kept.groupby("family")["source"].nunique() > 1).sum()),
            },
        }
        write_json(folder / "manifest.json", manifest)
        write_text(folder / "datasheet.md", render_datasheet(manifest))
        write_text(folder / "datasheet.html", render_datasheet_html(manifest))
        write_text(folder / "leakage.md", leakage.render(settings.mixture.name, report))
    return target


def _example_table(sources: Sequence[Ingested], kept: pd.DataFrame, heads: Sequence[str]) -> pa.Table:
    """The kept rows with the contract's columns; texts are copied from the sources' tables part by part."""
    schema = example_schema(heads)
    tables, start = [], 0
    for ingested in sources:
        size = len(ingested.table)
        mine = kept[(kept.index >= start) & (kept.index < start + size)]
        is_kept = np.zeros(size, dtype=bool)
        is_kept[mine.index.to_numpy() - start] = True
        columns = ingested.table.filter(pa.array(is_kept))
        sense = {head: ingested.source.sense.get(head) for head in heads}
        decided = {
            **{head: pa.array(mine[head], type=pa.int8(), from_pandas=True) for head in heads},
            "source": pa.repeat(pa.scalar(ingested.source.name), len(mine)),
            "sense": pa.repeat(pa.scalar(sense, type=schema.field("sense").type), len(mine)),
            "family": pa.array(mine["family"], type=pa.string()),
            "split": pa.array(mine["split"], type=pa.string()),
        }
        tables.append(pa.table({name: decided.get(name, columns[name] if name in columns.column_names else None) for name in schema.names}))
        start += size
    return pa.concat_tables([table.cast(schema) for table in tables])


def _refusals(sources: Sequence[Ingested], refused: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Every row that is not in the table, with its number in its source and the reason."""
    received = pa.concat_tables([ingested.table.select(["row", "text"]) for ingested in sources])
    refusals = [rejection for ingested in sources for rejection in ingested.rejections]
    reasons = {
        "copies": "duplicate",
        "leaking": "its family is in a higher official split",
        "unjudged": "no head has a judgement (masked by the label mapping or by a contradiction)",
    }
    for fate, reason in reasons.items():
        frame = refused[fate]
        further = [name for name in ("duplicate_of", "against") if name in frame]
        rows = received.take(pa.array(frame.index, type=pa.int64())).to_pylist()
        for decided, row in zip(frame[["source", "id", *further]].to_dict("records"), rows, strict=True):
            refusals.append({**{str(name): value for name, value in decided.items()}, **row, "reason": reason})
    return refusals


def _accounts(
    settings: DataPrepSettings,
    sources: Sequence[Ingested],
    kept: pd.DataFrame,
    refused: Mapping[str, pd.DataFrame],
    refusals: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """For each source of the mixture what came of its rows."""
    near = kept["near"].map(kept["near"].value_counts()) > 1
    judged = [kept, refused["leaking"], refused["unjudged"]]  # a copy dropped has its twin to speak for it
    accounts: dict[str, dict[str, Any]] = {}
    for ingested in sources:
        name = ingested.source.name
        if name not in {source.name for source in settings.mixture.sources.values()}:
            continue
        counted = {fate: int((frame["source"] == name).sum()) for fate, frame in refused.items()}
        accounts[name] = {
            **ingested.account,
            "kept": int((kept["source"] == name).sum()),
            "duplicates": counted["copies"],
            "leaking": counted["leaking"],
            "rejected": len(ingested.rejections) + counted["unjudged"],
            "rejected_by_reason": dict(
                Counter(
                    str(row["reason"]) for row in refusals if row["source"] == name and "duplicate_of" not in row and "against" not in row
                )
            ),
            "near_duplicates": int((near & (kept["source"] == name)).sum()),
            "conflicts": sum(int(frame.loc[frame["source"] == name, "conflicts"].sum()) for frame in judged),
        }
    return accounts
