"""`python -m evaluate.label_audit run=...`: rows whose label the model contradicts, ranked per language, for people to review.

A model that was trained on a wrong label may repeat it, so every row is judged by a model that has not seen it:
validation and test rows by the run itself, training rows by models trained anew, with the run's own recipe, on the
other folds. The result is a review list beside the run; the data are only read.
"""

import csv
import html
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hydra
import numpy as np
import numpy.typing as npt
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from datasets import Dataset
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig
from pandas.api.types import is_string_dtype
from sklearn.model_selection import GroupKFold
from tokenizers import Tokenizer
from tqdm import tqdm

from data_prep.command import UserError, run_stage, user_errors
from data_prep.files import publish_folder, read_json, write_text
from data_prep.inspect import mask_text
from data_prep.settings import to_settings
from data_prep.table import load_examples
from evaluate.escaping import spreadsheet_text
from evaluate.languages import language_name
from train.loss import MASKED
from train.model import MultiHeadClassifier
from train.policy import Policy
from train.prediction import predict_logits
from train.run import Run, load_run
from train.sampling import draw_epoch
from train.selection import judged_rows, select_split
from train.settings import TrainSettings
from train.stage import fit
from train.tokenised import TokenisedRows, label_matrix

Indices = npt.NDArray[np.int64]

COLUMNS = ["language", "rank", "id", "source", "head", "label", "probability", "quality", "split", "family"]
EXAMPLES_PER_LANGUAGE = 3
LONGEST_EXAMPLE = 400  # characters
BIDI_CONTROLS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass
class LabelAuditSettings:
    """The config of `python -m evaluate.label_audit`."""

    run: str = MISSING  # a finished run's folder
    out: str = MISSING  # the list goes to <out>/label_audit
    folds: int = 3  # 0: only rows that the run never trained on
    show_text: bool = False
    data_dir: str = "data"


def register_schemas() -> None:
    """Tell Hydra's config store the types of everything `configs/label_audit.yaml` may say."""
    ConfigStore.instance().store(name="label_audit_schema", node=LabelAuditSettings)


@dataclass(frozen=True)
class Judge:
    """A model of the audit, the rows it was trained on and the rows it judges; no row is in both."""

    name: str
    train_rows: int
    judged_rows: int
    best_metric: float  # on the validation rows: a fold's model that is much weaker than the run contradicts for no reason


@dataclass
class Audit:
    """What the models make of the labels.

    `cells` has one line per (row, head) with a label, with the columns `COLUMNS`, `text` and `contradicted`; the lines are
    ordered by language, in each from the most doubtful label on. `rank` numbers a language's contradicted labels.
    """

    name: str
    mixture: str
    best_metric: str
    judges: list[Judge]
    cells: pd.DataFrame


@hydra.main(config_path="../configs", config_name="label_audit", version_base="1.3")
def main(config: DictConfig) -> None:
    """Audit the labels that a run was trained and measured with, and say where the list lies."""
    with user_errors():
        settings: LabelAuditSettings = to_settings(config, LabelAuditSettings)
        audit, folder = audit_labels(settings)
        print(f"\n{console_table(audit.cells)}")
        print(f"\n{audit.cells['contradicted'].sum():,} labels to review, nothing deleted or changed -> {folder / 'label_audit.csv'}")
        print(f"next: give each language's lines to its native readers, as {folder / 'label_audit.md'} says")


def audit_labels(settings: LabelAuditSettings) -> tuple[Audit, Path]:
    """Judge every label by a model that has not seen it, and publish the review list.

    Returns
    -------
    The audit, and the folder `<out>/label_audit` with `label_audit.csv` and `label_audit.md`.

    Raises
    ------
    UserError
        If the run or its data are missing, the data were prepared anew since training, or so many folds cannot be had.
    """
    if settings.folds < 0 or settings.folds == 1:
        raise UserError(
            f"folds={settings.folds} is not possible: give 2 or more, or 0 to audit only the rows that the run never trained on"
        )
    run = load_run(Path(settings.run))
    recipe: TrainSettings = to_settings(run.record["settings"], TrainSettings)
    table = _trained_table(run, Path(settings.data_dir))
    train_table = select_split(table, "train", sorted(recipe.heads))
    folds = family_folds(list(train_table["family"]), settings.folds) if settings.folds else []
    if folds:
        figures = run.record["figures"]
        print(
            f"{len(folds)} models are trained with the run's own settings, each to judge the rows that it has not seen. The run's training "
            f"took {_minutes(figures['total_seconds'])}; expect {_minutes(expected_seconds(figures, recipe, train_table, folds))} on the "
            f"same machine, or minutes with folds=0, which audits the validation and test rows only."
            + ("" if settings.show_text else " The list will have ids and no texts: show_text=true adds them."),
            flush=True,
        )
    target = Path(settings.out) / "label_audit"
    with publish_folder(target) as folder:
        judges, judged = _judge_unseen(run, recipe, table, train_table, folds, folder / "fold")
        audit = Audit(
            name=run.folder.resolve().name,
            mixture=recipe.mixture.name,
            best_metric=recipe.trainer.best_metric,
            judges=judges,
            cells=find_contradictions(judged),
        )
        write_text(folder / "label_audit.csv", render_csv(audit.cells, settings.show_text))
        write_text(folder / "label_audit.md", render_markdown(audit, settings.show_text))
    return audit, target


def _trained_table(run: Run, data_dir: Path) -> Dataset:
    """The labelled rows of the table that the run was trained with."""
    trained_on = run.record["data_manifest"]
    folder = data_dir / trained_on["mixture"]
    table = load_examples(folder)
    if read_json(folder / "manifest.json")["table_sha256"] != trained_on["table_sha256"]:
        raise UserError(
            f"{folder} was prepared anew after this model was trained, so nobody knows which of its rows the model has seen: "
            "train again, or give the table it was trained with"
        )
    return table.select(judged_rows(label_matrix(table, run.model.config.heads)))


def family_folds(families: Sequence[str], folds: int) -> list[Indices]:
    """The indices of each fold's rows: families whole, folds of nearly the same size, the same for the same rows.

    Raises
    ------
    UserError
        If there are fewer families than folds.

    >>> family_folds(["a", "b", "a", "c"], 2)
    [array([0, 2]), array([1, 3])]
    """
    if len(set(families)) < folds:
        raise UserError(f"folds={folds} is not possible with {len(set(families))} families of training rows: give fewer folds, or 0")
    return [inside for _, inside in GroupKFold(folds).split(np.zeros(len(families)), groups=np.asarray(families))]


def expected_seconds(figures: dict[str, float], recipe: TrainSettings, train_table: Dataset, folds: Sequence[Indices]) -> float:
    """How long training a model for each fold will take, from the time the run itself took.

    In proportion to the rows that an epoch draws, and not to all rows, because `max_negatives_per_source` caps them; with
    `max_steps` a training is as long on fewer rows.
    """
    sources = np.asarray(train_table["source"])
    positive = (label_matrix(train_table, sorted(recipe.heads)) == 1).any(axis=1)

    def drawn(rows: Indices) -> int:
        rng = np.random.default_rng(recipe.trainer.seed)
        return len(draw_epoch(sources[rows], positive[rows], recipe.trainer.sampling.max_negatives_per_source, rng))

    everything = np.arange(len(train_table))
    trained = [np.setdiff1d(everything, inside) for inside in folds]
    shares = [1.0 if recipe.trainer.max_steps > 0 else drawn(rows) / drawn(everything) for rows in trained]
    set_up = figures["total_seconds"] - figures["training_seconds"]
    return sum(set_up + share * figures["training_seconds"] for share in shares)


def _judge_unseen(
    run: Run, recipe: TrainSettings, table: Dataset, train_table: Dataset, folds: Sequence[Indices], scratch: Path
) -> tuple[list[Judge], pd.DataFrame]:
    """Every model of the audit, and one line per (row, head) with a label, judged by a model that has not seen the row."""
    validation_table = select_split(table, "validation", sorted(recipe.heads))
    held_out = table.select(np.flatnonzero(np.asarray(table["split"]) != "train"))
    judges = [Judge("the run", len(train_table), len(held_out), run.record["figures"]["best_metric"])]
    cells = [_judge_rows(run.model, run.tokenizer, run.policy, held_out)]
    for number, inside in enumerate(tqdm(folds, desc="folds", unit=" folds", disable=None), start=1):
        outside = np.setdiff1d(np.arange(len(train_table)), inside)
        tqdm.write(f"fold {number} of {len(folds)}: training on {len(outside):,} rows, to judge the other {len(inside):,}")
        fitted = fit(recipe, train_table.select(outside), validation_table, scratch)
        shutil.rmtree(scratch)
        judges.append(Judge(f"fold {number}", len(outside), len(inside), fitted.figures["best_metric"]))
        cells.append(_judge_rows(fitted.model, fitted.tokenizer, fitted.policy, train_table.select(inside)))
        del fitted  # or the next fold's model would share the memory with it
    return judges, pd.concat(cells, ignore_index=True)


def _judge_rows(model: MultiHeadClassifier, tokenizer: Tokenizer, policy: Policy, rows: Dataset) -> pd.DataFrame:
    heads = list(model.config.heads)
    logits, _ = predict_logits(model, TokenisedRows(rows, tokenizer, heads))
    labels = label_matrix(rows, heads)
    shared = pd.DataFrame({column: list(rows[column]) for column in ("language", "id", "source", "split", "family", "text")})
    cells = [
        shared.assign(
            head=head, label=labels[:, column], probability=policy.heads[head].probability(logits[:, column], list(rows["language"]))
        )
        for column, head in enumerate(heads)
    ]
    return pd.concat([of_head[of_head["label"] != MASKED] for of_head in cells], ignore_index=True)


def find_contradictions(cells: pd.DataFrame) -> pd.DataFrame:
    """Add `quality`, `contradicted` and `rank` to judged labels, and order them by language and quality.

    Confident learning (Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"): per head
    and over all languages, because a small language has too few rows for thresholds of its own. `quality` is the
    calibrated probability of the given label, as it is: adjusted for how frequent the labels are, it ranked planted
    errors lower in a trial on public research data.

    Parameters
    ----------
    cells
        One line per (row, head), with at least `head`, `language`, `id`, `label` (0 or 1) and `probability` (of 1).
    """
    found = [_judge_head(of_head) for _, of_head in cells.groupby("head")]
    ordered = pd.concat(found).sort_values(["language", "quality", "id", "head"], ignore_index=True)
    counted = ordered["contradicted"].astype("Int64").groupby(ordered["language"]).cumsum()
    return ordered.assign(rank=counted.where(ordered["contradicted"]))


def _judge_head(cells: pd.DataFrame) -> pd.DataFrame:
    labels = cells["label"].to_numpy(dtype=np.int64)
    probability = cells["probability"].to_numpy(dtype=np.float64)
    both = np.stack([1 - probability, probability], axis=1)
    if len(np.unique(labels)) < 2:  # nothing to learn from what confident labels of the other kind look like
        return cells.assign(quality=both[np.arange(len(labels)), labels], contradicted=False)
    return cells.assign(quality=get_label_quality_scores(labels, both), contradicted=find_label_issues(labels, both, n_jobs=1))


def count_contradictions(cells: pd.DataFrame) -> pd.DataFrame:
    """Per language and head: labels `judged`, `contradicted`, and of these `labelled_1` and `labelled_0`; with the `share`."""
    wrong = cells.assign(labelled_1=cells["contradicted"] & (cells["label"] == 1), labelled_0=cells["contradicted"] & (cells["label"] == 0))
    groups = wrong.groupby(["language", "head"])
    counts = groups[["contradicted", "labelled_1", "labelled_0"]].sum()
    counts.insert(0, "judged", groups.size())
    return counts.assign(share=counts["contradicted"] / counts["judged"]).reset_index()


def console_table(cells: pd.DataFrame) -> str:
    """The counts as they are printed at the end of an audit."""
    lines = [f"{'language':<20}{'head':<24}{'judged':>8}{'contradicted':>14}{'share':>8}"]
    for row in count_contradictions(cells).to_dict("records"):
        lines.append(
            f"{language_name(row['language']):<20}{row['head']:<24}{row['judged']:>8,}{row['contradicted']:>14,}{row['share']:>8.1%}"
        )
    return "\n".join(lines)


def render_csv(cells: pd.DataFrame, show_text: bool) -> str:
    """The contradicted labels, one line each, as a file that spreadsheets open as it is meant.

    It begins with a byte order mark, without which some spreadsheets misread other scripts, and no cell is a formula.
    """
    listed = cells.loc[cells["contradicted"], [*COLUMNS, "text"] if show_text else COLUMNS]
    safe = listed.assign(**{str(name): listed[name].map(spreadsheet_text) for name in listed if is_string_dtype(listed[name])})
    return "\ufeff" + safe.round(6).to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


def render_markdown(audit: Audit, show_text: bool) -> str:
    """What was judged by which model, the counts, what to do with the list, and its top with texts masked unless asked for."""
    cells = audit.cells
    contradicted = int(cells["contradicted"].sum())
    one_sided = [str(head) for head, labels in cells.groupby("head")["label"] if labels.nunique() < 2]
    lines = [
        f"# Label audit of run {audit.name}",
        "",
        f"{len(cells):,} labels of mixture `{audit.mixture}` were judged by models that had not seen them; {contradicted:,} "
        f"({contradicted / len(cells):.1%}) are contradicted. That is a doubt and no verdict: where writing is rare in the data, or a rule "
        "of labelling is subtle, it is the model that errs. Nothing was deleted or changed.",
        "",
        f"| model | trained on rows | judged rows | validation {audit.best_metric} |",
        "|---|---:|---:|---:|",
        *(f"| {judge.name} | {judge.train_rows:,} | {judge.judged_rows:,} | {judge.best_metric:.3f} |" for judge in audit.judges),
        "",
        "The run judged validation and test rows; its checkpoint and its calibration were chosen on the former. "
        + (
            "Training rows were judged by the folds' models, none of which saw a row of the same family. A fold's model that is much "
            "weaker than the run contradicts more than it should."
            if len(audit.judges) > 1
            else "Training rows were not audited (`folds=0`)."
        ),
        *(f"\n`{head}` has labels of one kind only and could not be audited." for head in one_sided),
        "",
        "## Per language and head",
        "",
        "| language | head | judged | contradicted | labelled 1 | labelled 0 | share |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in count_contradictions(cells).to_dict("records"):
        lines.append(
            f"| {language_name(row['language'])} | {row['head']} | {row['judged']:,} | {row['contradicted']:,} | {row['labelled_1']:,} | "
            f"{row['labelled_0']:,} | {row['share']:.1%} |"
        )
    lines += [
        "",
        "## What to do with the list",
        "",
        "1. Give the lines of a language to at least two of its native readers, from rank 1 on. Hide the columns `label`, "
        "`probability` and `quality` from them, and mix in unlisted rows: who sees an answer tends to agree with it.",
        "2. Correct a label where the readers agree that it is wrong, in the source's own file. Where one kind of error keeps coming "
        "back, the source's label map in `configs/source/` may misread what its label means.",
        "3. For validation and test rows have as many unlisted rows, drawn at random, reviewed as well. Corrections only where the "
        "model disagrees make its figures better than it is.",
        f"4. Prepare and train again: `python -m data_prep mixture={audit.mixture}`, then `python -m train`.",
        "",
        "Never delete the listed rows unread: what the model finds hard is also what it most needs to learn from.",
        "",
        "## The most doubtful labels",
        "",
        "Texts as they are." if show_text else "Texts are masked; `show_text=true` shows them.",
        "",
        "| language | rank | head | label | probability | source | id | text |",
        "|---|---:|---|---:|---:|---|---|---|",
    ]
    for row in cells[cells["contradicted"] & (cells["rank"] <= EXAMPLES_PER_LANGUAGE)].to_dict("records"):
        text = row["text"][:LONGEST_EXAMPLE]
        lines.append(
            f"| {language_name(row['language'])} | {row['rank']} | {row['head']} | {row['label']} | {row['probability']:.3f} | "
            f"{row['source']} | {row['id']} | {_table_cell(text if show_text else mask_text(text))} |"
        )
    return "\n".join(lines) + "\n"


def _table_cell(text: str) -> str:
    """Text that stays text, and in its place, in a Markdown table."""
    one_line = " ".join(BIDI_CONTROLS.sub("", text).split())
    return re.sub(r"([\\`*_{}\[\]()#|~!])", r"\\\1", html.escape(one_line, quote=False))


def _minutes(seconds: float) -> str:
    return f"{max(round(seconds / 60), 1):,} min"


if __name__ == "__main__":
    register_schemas()
    run_stage(main)
