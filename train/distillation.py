"""Knowledge distillation: a small model learns a large run's scores beside the labels, also for heads that nobody judged."""

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
    settings: DistillationSettings, table: Dataset, heads: Sequence[str], cache: Path, kept: Path
) -> npt.NDArray[np.float32]:
    """The teacher's logits of the table's rows, shape (rows, heads), computed once and kept in a file for a run that is resumed.

    Raises
    ------
    UserError
        If the teacher is no finished run, lacks a head, or the weight or temperature makes no sense.
    """
    if not 0 < settings.weight <= 1 or settings.temperature <= 0:
        raise UserError("trainer.distillation: weight is a share above 0 and at most 1, temperature a number above 0")
    teacher = load_run(Path(settings.teacher or ""))
    theirs = list(teacher.model.config.heads)
    if missing := sorted(set(heads) - set(theirs)):
        raise UserError(f"the teacher {settings.teacher} has no head {missing[0]}: its heads are {', '.join(theirs)}")
    if kept.is_file():
        logits: npt.NDArray[np.float32] = np.load(kept, allow_pickle=False)
        return logits
    rows = TokenisedRows(table, teacher.tokenizer, heads, cache)
    scores, _ = predict_logits(teacher.model.to("cuda" if torch.cuda.is_available() else "cpu"), rows)
    logits = scores[:, [theirs.index(head) for head in heads]]
    buffer = io.BytesIO()
    np.save(buffer, logits, allow_pickle=False)
    write_bytes(kept, buffer.getvalue())
    return logits
