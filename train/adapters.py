"""LoRA by peft: a large encoder learns through small matrices beside its frozen weights, which are merged at the end."""

import warnings
from typing import cast

from peft import LoraConfig, PeftModel, get_peft_model

from data_prep.command import UserError
from train.model import MultiHeadClassifier
from train.settings import LoraSettings


def add_adapters(model: MultiHeadClassifier, settings: LoraSettings) -> PeftModel:
    """Put adapters into the encoder's layers, in place; then only they and the heads learn.

    Parameters
    ----------
    settings
        `targets` name linear layers of the encoder by the last part of their name; an adapted layer with weights of shape
        (out, in) gets `rank` x (in + out) weights (Hu et al. 2021), and its update is scaled by `alpha` / `rank`.

    Raises
    ------
    UserError
        If no layer of the encoder is called as a target says.
    """
    targets = rf"roberta\.encoder\..*\.({'|'.join(settings.targets)})"
    config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=targets)
    try:
        with warnings.catch_warnings():  # peft 0.21 asks transformers by a name that has been replaced
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            adapted = get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"trainer.lora.targets={settings.targets} names no layer of the encoder: use query, key, value, dense") from error
    model.classifier.requires_grad_(True)
    return cast(PeftModel, adapted)


def merge_adapters(adapted: PeftModel) -> MultiHeadClassifier:
    """The classifier with the adapters' updates added to its weights and the adapters gone: shapes as if all had been trained."""
    return cast(MultiHeadClassifier, adapted.merge_and_unload(safe_merge=True))
