"""Score the test rows with what ships: the artifact, its own tokenizer and its own policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from tqdm import tqdm

from data_prep.command import UserError
from data_prep.files import read_json
from data_prep.table import load_examples
from evaluate.settings import EvaluateSettings, check_evaluate_settings
from export.artifact import open_artifact
from export.client import Classifier
from export.settings import release_folder
from train.labels import label_matrix
from train.policy import Policy
from train.selection import select_split

CHUNK = 500


@dataclass
class Scored:
    """Test rows with the model's answers: `probabilities`, `flagged` and `decided` have the shape (rows, heads)."""

    name: str
    kind: str  # artifact or checkpoint
    rows: Dataset
    train_rows: Dataset
    seen: int | None  # test rows left out because the model was trained on them; None: the table that it was trained with is not there
    heads: list[str]
    labels: npt.NDArray[np.int8]
    probabilities: npt.NDArray[np.float64]
    flagged: npt.NDArray[np.bool_]
    decided: npt.NDArray[np.bool_]  # outside the policy's review band
    policy: Policy
    record: dict[str, Any]  # the run's
    classifier: Classifier | None  # the artifact's client, to ask more of it; None for a checkpoint


def score(settings: EvaluateSettings) -> Scored:
    """Score a release's artifact, or a run's checkpoint while developing.

    Raises
    ------
    UserError
        If neither or both are named, something is missing, the data were prepared anew since training, or the model has seen every
        test row.
    """
    check_evaluate_settings(settings)
    if (settings.release is None) == (settings.run is None):
        raise UserError("give either release=<name> (evaluates the artifact) or run=<folder> (evaluates a checkpoint)")
    if settings.release is not None:
        artifact = release_folder(settings.releases_dir, settings.release) / "artifact"
        classifier = open_artifact(artifact)
        record = read_json(artifact / "training.json")
        rows, train_rows, heads, seen = _rows(settings, record)
        logits = artifact_logits(classifier, rows["text"][:], "scoring test rows")
        policy = Policy.from_json(classifier.policy)
        name, kind = settings.release, "artifact"
    else:
        from train.prediction import predict_logits  # torch and transformers, which an artifact does without
        from train.run import load_run
        from train.tokenised import TokenisedRows

        classifier = None
        run = load_run(Path(str(settings.run)))
        record, policy, name, kind = run.record, run.policy, run.folder.resolve().name, "checkpoint"
        rows, train_rows, heads, seen = _rows(settings, record)
        logits, _ = predict_logits(run.model, TokenisedRows(rows, run.tokenizer, heads))
    return _decide(name, kind, rows, train_rows, seen, heads, logits, policy, record, classifier)


def artifact_logits(classifier: Classifier, texts: Sequence[str], doing: str) -> npt.NDArray[np.float32]:
    """The artifact's logits, shape (texts, heads); `doing` is what the progress bar says."""
    # long and short texts apart, in chunks, so that progress shows and batches pad little
    order = np.argsort([len(text) for text in texts], kind="stable")
    logits = np.empty((len(texts), len(classifier.contract["heads"])), dtype=np.float32)
    with tqdm(total=len(texts), desc=doing, unit=" texts", disable=None) as progress:
        for start in range(0, len(texts), CHUNK):
            chunk = order[start : start + CHUNK]
            logits[chunk] = classifier.run([texts[index] for index in chunk])[0]
            progress.update(len(chunk))
    return logits


def probabilities_of(
    classifier: Classifier, policy: Policy, heads: Sequence[str], texts: Sequence[str], languages: Sequence[str], doing: str
) -> npt.NDArray[np.float64]:
    """Calibrated probabilities of texts that are no test rows, shape (texts, heads)."""
    logits = artifact_logits(classifier, texts, doing)
    return np.stack([policy.heads[head].probability(logits[:, column], languages) for column, head in enumerate(heads)], axis=1)


def _rows(settings: EvaluateSettings, record: dict[str, Any]) -> tuple[Dataset, Dataset, list[str], int | None]:
    """Test rows that the model has not seen, training rows for the baselines, the heads, and how many test rows it has seen."""
    trained_on = record["data_manifest"]
    mixture = settings.mixture or trained_on["mixture"]
    folder = Path(settings.data_dir) / mixture
    table = load_examples(folder)
    if mixture == trained_on["mixture"] and read_json(folder / "manifest.json")["table_sha256"] != trained_on["table_sha256"]:
        raise UserError(
            f"{folder} was prepared anew after this model was trained, so its test rows may be rows the model has seen: train again, "
            "or evaluate against the table it was trained with"
        )
    heads = sorted(record["settings"]["heads"])
    if missing := [head for head in heads if head not in table.column_names]:
        raise UserError(f"{folder} has no column {missing[0]}, which this model answers: prepare that mixture with the model's heads")
    seen: npt.NDArray[np.int64] | None = np.zeros(0, dtype=np.int64)
    if mixture != trained_on["mixture"]:
        seen = _seen_in_training(table, Path(settings.data_dir) / trained_on["mixture"], trained_on["table_sha256"])
    unseen = table if seen is None else table.select(np.setdiff1d(np.arange(len(table)), seen))
    if "test" in table["split"][:] and "test" not in unseen["split"][:]:
        raise UserError(f"the model has seen every test row of {folder} in training: evaluate it on another mixture")
    return select_split(unseen, "test", heads), select_split(table, "train", heads), heads, None if seen is None else len(seen)


def _seen_in_training(table: Dataset, folder: Path, published: dict[str, str]) -> npt.NDArray[np.int64] | None:
    """The test rows of a table, by number, that a model trained with the table in another folder has seen; None if that is not there.

    Seen are rows that share a text or a family with a training row, or with a validation row, by which checkpoint and policy were
    chosen.
    """
    if not (folder / "manifest.json").is_file() or read_json(folder / "manifest.json")["table_sha256"] != published:
        return None
    trained = load_examples(folder)
    known = trained.select_columns(["split", "family", "text"]).to_pandas()
    known = known[known["split"] != "test"]
    rows = table.select_columns(["split", "family", "text"]).to_pandas()
    met = rows["family"].isin(known["family"]) | rows["text"].isin(known["text"])
    return np.flatnonzero((rows["split"] == "test") & met)


def _decide(
    name: str,
    kind: str,
    rows: Dataset,
    train_rows: Dataset,
    seen: int | None,
    heads: list[str],
    logits: npt.NDArray[np.float32],
    policy: Policy,
    record: dict[str, Any],
    classifier: Classifier | None,
) -> Scored:
    languages = rows["language"][:]
    probabilities = np.stack([policy.heads[head].probability(logits[:, column], languages) for column, head in enumerate(heads)], axis=1)
    thresholds = np.asarray([[policy.heads[head].threshold_of(language) for head in heads] for language in languages])
    near = [policy.heads[head].near_threshold(probabilities[:, column], thresholds[:, column]) for column, head in enumerate(heads)]
    return Scored(
        name=name,
        kind=kind,
        rows=rows,
        train_rows=train_rows,
        seen=seen,
        heads=heads,
        labels=label_matrix(rows, heads),
        probabilities=probabilities,
        flagged=probabilities >= thresholds,
        decided=~np.stack(near, axis=1),
        policy=policy,
        record=record,
        classifier=classifier,
    )
