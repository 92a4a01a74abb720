"""The mean of several runs' weights: seeds of one recipe as one model, which costs no more to serve than one of them.

Runs that begin at the same pre-trained encoder end near each other, and the mean of their weights errs about as little as the mean
of their scores (Wortsman et al. 2022, "Model soups"). No step is trained.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from data_prep.command import UserError
from data_prep.files import read_json
from data_prep.secrets import masked
from train.model import MultiHeadClassifier
from train.run import Run, load_run
from train.settings import EncoderSettings, TrainSettings

_SHARED = ("mixture", "heads", "encoder", "leave_out", "fraction")  # what the runs and the new one must have alike


def average_runs(settings: TrainSettings) -> tuple[MultiHeadClassifier, Tokenizer, dict[str, float]]:
    """The mean of the weights of `settings.average`, without n-grams, the tokenizer that they share, and what training them took together.

    Raises
    ------
    UserError
        If one of them is no finished run, or they or these settings differ in more than how they were trained.
    """
    runs = [load_run(Path(name)) for name in settings.average]
    given: dict[str, Any] = json.loads(json.dumps(masked(asdict(settings))))
    table = read_json(Path(settings.data_dir) / settings.mixture.name / "manifest.json")["table_sha256"]
    for run in runs:
        recorded = run.record["settings"]
        # a run from before a setting of the encoder existed had its default
        recorded = {**recorded, "encoder": {**asdict(EncoderSettings(name="", kind="")), **recorded["encoder"]}}
        other = [key for key in _SHARED if recorded.get(key) != given[key]]
        if run.record["data_manifest"]["table_sha256"] != table:
            other.append("data")
        if run.tokenizer.to_str() != runs[0].tokenizer.to_str():
            other.append("vocabulary or normaliser")
        pruned = any(given["encoder"][key] is not None for key in ("feed_forward", "attention_heads"))
        if pruned and not other and not _same_neurons(run.model, runs[0].model):
            other.append("choice of inner neurons or heads (each seed makes its own, a processor may)")
        if other:
            raise UserError(
                f"average: {run.folder} was trained with another {other[0]}, so its weights mean something else: give the experiment and "
                "data that it was trained with, and runs that differ in nothing but `trainer`, and there not in edited_copies, whose "
                "texts use other pieces"
            )
    for run in runs:
        run.model.use_ngrams(None)  # the mean gets its own
    model = runs[0].model
    states = [run.model.state_dict() for run in runs]
    for name, mean in model.state_dict().items():  # the model's own memory
        if mean.is_floating_point():
            # in float64 the mean of equal numbers is that number: frozen embeddings stay what 4 bits hold
            mean.copy_(sum(state[name].double() for state in states) / len(states))
    return model, runs[0].tokenizer, _together(runs)


def _same_neurons(model: MultiHeadClassifier, other: MultiHeadClassifier) -> bool:
    """Whether pruning kept the same neurons and heads of both in every layer; fine-tuning turns their weights by little."""
    for mine, theirs in zip(model.roberta.encoder.layer, other.roberta.encoder.layer, strict=True):
        for part in ("intermediate.dense", "attention.self.value"):
            one, two = (layer.get_submodule(part).weight.detach() for layer in (mine, theirs))
            alike = torch.cosine_similarity(one, two, dim=1)
            if float(alike.quantile(0.01)) < 0.5:
                return False
    return True


def _together(runs: list[Run]) -> dict[str, float]:
    figures = [run.record["figures"] for run in runs]
    seconds = sum(each["training_seconds"] for each in figures)
    rows = sum(each["rows_per_second"] * each["training_seconds"] for each in figures)
    return {
        "steps": sum(each["steps"] for each in figures),
        "training_seconds": seconds,
        "total_seconds": sum(each["total_seconds"] for each in figures),
        "rows_per_second": rows / seconds,
        "train_loss": sum(each["train_loss"] for each in figures) / len(figures),
    }
