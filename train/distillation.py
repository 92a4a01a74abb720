"""Knowledge distillation: a model learns other runs' scores beside the labels, also for heads that nobody judged.

One large run teaches a small encoder; several seeds of one recipe teach it their mean, which errs less than any of them. A pruned
model is taught by what it was before: its scores, and the output of each of its layers, of which it still has all.
"""

import copy
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset

from data_prep.command import UserError
from data_prep.files import write_bytes
from train.model import MultiHeadClassifier
from train.prediction import predict_logits
from train.run import load_run
from train.settings import DistillationSettings
from train.tokenised import TokenisedRows


def teacher_logits(
    settings: DistillationSettings, table: Dataset, heads: Sequence[str], cache: Path, kept: Path, bf16: bool
) -> npt.NDArray[np.float32]:
    """The mean of the teachers' logits of the table's rows, shape (rows, heads), computed once and kept in a file for a resumed run.

    Of the encoders' logits, without n-grams. With `bf16` the teachers compute in what the student does: rounding moves a logit by
    hundredths, another seed by tenths.

    Raises
    ------
    UserError
        If a teacher is no finished run or lacks a head, or the weight or temperature makes no sense.
    """
    if not 0 < settings.weight <= 1 or settings.temperature <= 0:
        raise UserError("trainer.distillation: weight is a share above 0 and at most 1, temperature a number above 0")
    teachers = [load_run(Path(name)) for name in settings.teachers]
    for name, teacher in zip(settings.teachers, teachers, strict=True):
        if missing := sorted(set(heads) - set(teacher.model.config.heads)):
            raise UserError(f"the teacher {name} has no head {missing[0]}: its heads are {', '.join(teacher.model.config.heads)}")
    if kept.is_file():
        logits: npt.NDArray[np.float32] = np.load(kept, allow_pickle=False)
        return logits
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scores = []
    for teacher in teachers:
        rows = TokenisedRows(table, teacher.tokenizer, heads, cache)
        teacher.model.use_ngrams(None)  # which know the training rows by heart; the student gets its own
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            found, _ = predict_logits(teacher.model.to(device), rows)
        scores.append(found[:, [list(teacher.model.config.heads).index(head) for head in heads]])
    mean: npt.NDArray[np.float32] = np.stack(scores).mean(axis=0)
    buffer = io.BytesIO()
    np.save(buffer, mean, allow_pickle=False)
    write_bytes(kept, buffer.getvalue())
    return mean


class Unpruned:
    """A model as it is now, kept to teach the one that pruning makes of it."""

    def __init__(self, model: MultiHeadClassifier) -> None:
        # a copy of the object would share the forward pass that an earlier training may have wrapped
        self.model = MultiHeadClassifier._from_config(copy.deepcopy(model.config))
        self.model.load_state_dict(model.state_dict())
        self.model.eval().requires_grad_(False)

    @torch.no_grad()
    def answer(self, texts: dict[str, Any]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits, shape (batch, heads), and the layers' outputs for a batch as the classifier takes it."""
        with layer_outputs(self.model) as outputs:
            logits = self.model(**texts).logits
        return logits.float(), outputs


@contextmanager
def layer_outputs(model: MultiHeadClassifier) -> Iterator[list[torch.Tensor]]:
    """Within, what each of the encoder's layers puts out, shape (..., hidden), is added to the list."""
    outputs: list[torch.Tensor] = []
    hooks = [layer.register_forward_hook(lambda _, __, output: outputs.append(output)) for layer in model.roberta.encoder.layer]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
