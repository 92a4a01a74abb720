"""Knowledge distillation: a model learns other runs' scores beside the labels, also for heads that nobody judged.

One large run teaches a small encoder; several seeds of one recipe teach it their mean, which errs less than any of them.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset

from data_prep.command import UserError
from data_prep.files import write_bytes
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
