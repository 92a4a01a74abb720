"""Every label judged by a model that has not seen it: the run itself, and a model trained anew for each fold."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from datasets import Dataset
from sklearn.model_selection import GroupKFold
from tokenizers import Tokenizer
from tqdm import tqdm

from data_prep.command import UserError
from data_prep.files import publish_folder, read_json, write_text
from data_prep.settings import to_settings
from data_prep.table import load_examples
from evaluate.label_audit.contradictions import find_contradictions
from evaluate.label_audit.review_list import Audit, Judge, render_csv, render_markdown
from evaluate.label_audit.settings import LabelAuditSettings
from train.labels import MASKED, label_matrix
from train.model import MultiHeadClassifier
from train.policy import Policy
from train.prediction import predict_logits
from train.run import Run, load_run
from train.sampling import draw_epoch
from train.selection import judged_rows, select_split
from train.settings import TrainSettings
from train.stage import fit
from train.tokenised import TokenisedRows

Indices = npt.NDArray[np.int64]


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
    trainings = max(1, len(recipe.average))
    recipe.average = []  # the runs of an averaged one have seen every fold: a fold's model is one training of their recipe
    table = _trained_table(run, Path(settings.data_dir))
    train_table = select_split(table, "train", sorted(recipe.heads))
    folds = family_folds(train_table["family"][:], settings.folds) if settings.folds else []
    if folds:
        figures = {name: run.record["figures"][name] / trainings for name in ("training_seconds", "total_seconds")}
        print(
            f"{len(folds)} models are trained with the run's own settings, each to judge the rows that it has not seen. Training the run "
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
    sources = np.asarray(train_table["source"][:])
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
    held_out = table.select(np.flatnonzero(np.asarray(table["split"][:]) != "train"))
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
    shared = pd.DataFrame({column: rows[column][:] for column in ("language", "id", "source", "split", "family", "text")})
    cells = [
        shared.assign(
            head=head, label=labels[:, column], probability=policy.heads[head].probability(logits[:, column], rows["language"][:])
        )
        for column, head in enumerate(heads)
    ]
    return pd.concat([of_head[of_head["label"] != MASKED] for of_head in cells], ignore_index=True)


def _minutes(seconds: float) -> str:
    return f"{max(round(seconds / 60), 1):,} min"
