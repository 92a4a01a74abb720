"""What the settings of a training may be, beyond their types: refused before anything is read or written."""

import math
import os

from data_prep.command import UserError
from data_prep.limits import check_heads, check_mixture, check_name
from train.settings import TrainSettings

# key -> least and most, both allowed
_RANGES: dict[str, tuple[float, float]] = {
    "trainer.layer_decay": (0, 1),
    "trainer.weight_decay": (0, math.inf),
    "trainer.warmup_fraction": (0, 1),
    "trainer.dropout": (0, 0.99),
    "trainer.edited_copies": (0, 1),
    "trainer.freeze_layers": (0, math.inf),
    "trainer.gradient_accumulation": (1, math.inf),
    "trainer.evaluations_per_epoch": (1, math.inf),
    "trainer.checkpoint_minutes": (0, math.inf),
    "trainer.seed": (0, 2**32 - 1),
    "trainer.patience": (1, math.inf),
    "trainer.lora.rank": (0, math.inf),
    "trainer.lora.dropout": (0, 0.99),
    "trainer.distillation.weight": (0, 1),
    "trainer.distillation.temperature": (0.01, math.inf),
    "trainer.distillation.layers_weight": (0, math.inf),
    "trainer.sampling.tokens_per_batch": (1, math.inf),
    "trainer.sampling.max_negatives_per_source": (0, math.inf),
    "trainer.loss.label_smoothing": (0, 0.99),
    "trainer.loss.dro_step": (0, math.inf),
    "trainer.loss.r_drop": (0, math.inf),
    "encoder.layers": (1, math.inf),
    "encoder.feed_forward": (1, math.inf),
    "encoder.attention_heads": (1, math.inf),
    "encoder.max_length": (3, math.inf),  # a piece between the special ones
    "encoder.reserve": (0, math.inf),
    "adaptation.epochs": (0, math.inf),
    "policy.target_value": (0, 1),
    "policy.review_odds": (1, math.inf),
    "policy.max_neutral_fpr": (0, 1),
    "ngram_buckets": (0, 2**30),
    "projection.dimension": (1, math.inf),
    "projection.texts": (2, math.inf),
    "projection.steps": (0, math.inf),
    "projection.batch": (2, math.inf),
}
_ABOVE_ZERO = (
    "trainer.learning_rate",
    "trainer.head_learning_rate",
    "trainer.epochs",
    "trainer.epochs_after_pruning",
    "adaptation.learning_rate",
    "projection.temperature",
)
_CHOICES = {
    "encoder.kind": ("hub", "packaged", "random"),
    "encoder.pooling": ("mean", "first"),
    "policy.target": ("f1", "fpr", "precision"),
}


def check_train_settings(settings: TrainSettings) -> None:
    """Refuse what no training can be made with.

    Raises
    ------
    UserError
        If a name could lead out of its folder, a number is out of its range or a choice does not exist.
    """
    check_name("name", settings.name)
    check_heads(settings.heads)
    check_mixture(settings.mixture)
    for key, (least, most) in _RANGES.items():
        value = _value(settings, key)
        if value is not None and not least <= value <= most:
            bound = f"at least {least:g}" if most == math.inf else f"{least:g} to {most:g}"
            raise UserError(f"{key}={value} is out of range: use {bound}")
    for key in _ABOVE_ZERO:
        if not 0 < _value(settings, key) < math.inf:
            raise UserError(f"{key}={_value(settings, key)} is out of range: use a number above 0")
    for key, choices in _CHOICES.items():
        if str(_value(settings, key)) not in choices:
            raise UserError(f"{key}={_value(settings, key)} is unknown: use {', '.join(choices)}")
    if len(settings.average) == 1:
        raise UserError(f"average={settings.average} is one run: give two or more, or export that run as it is")
    if settings.average and settings.trainer.best_metric == "loss":
        raise UserError("average: a mean of weights has no validation loss of its own here: give a trainer.best_metric such as macro_auprc")
    if settings.average and (settings.encoder.kind == "random" or not settings.encoder.pretrained):
        raise UserError("average: encoders that begin at random weights end far apart, and their mean knows nothing: use a pre-trained one")
    if settings.trainer.max_steps != -1 and settings.trainer.max_steps < 1:
        raise UserError(f"trainer.max_steps={settings.trainer.max_steps} trains nothing: use at least 1, or -1 for whole epochs")
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":  # as accelerate launch --use_fsdp says it to its processes
        if (os.environ.get("FSDP_VERSION"), os.environ.get("FSDP_STATE_DICT_TYPE")) != ("2", "FULL_STATE_DICT"):
            raise UserError(
                "FSDP is used in version 2 and with whole checkpoints: add --fsdp_version 2 --fsdp_state_dict_type FULL_STATE_DICT"
            )
        if settings.trainer.lora.rank or settings.adaptation.epochs:
            raise UserError("FSDP shards full fine-tuning alone: start without it, or without trainer.lora and adaptation")


def _value(settings: TrainSettings, key: str) -> float:
    value: object = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value  # type: ignore[return-value]
