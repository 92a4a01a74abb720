"""Rows as token ids: tokenised once, in memory, padded only as far as their batch needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from tokenizers import Tokenizer

from train.encoder import PAD
from train.encoding import encode
from train.labels import label_matrix
from train.packing import Ids, pack


class Item(TypedDict):
    """One tokenised row: its ids, one label per head (1, 0 or `labels.MASKED`), and its language's place among the rows' languages.

    `teacher` has one logit per head where a model is distilled.
    """

    input_ids: Ids
    labels: Sequence[int]
    language: int
    teacher: NotRequired[Sequence[float]]


class TokenisedRows(torch.utils.data.Dataset[Item]):
    """An Example table's rows as `Item`s, in the table's order; `teacher` may be given logits of shape (rows, heads)."""

    teacher: npt.NDArray[np.float32] | None = None

    def __init__(self, table: Dataset, tokenizer: Tokenizer, heads: Sequence[str], cache: Path | None = None) -> None:
        self.ids = encode(table["text"][:], tokenizer, cache)
        self.labels = label_matrix(table, heads)
        self.lengths = np.asarray([len(ids) for ids in self.ids], dtype=np.int64)
        self.languages = table["language"][:]
        self.language_names, self.language_codes = np.unique(np.asarray(self.languages), return_inverse=True)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Item:
        labels, language = self.labels[index].tolist(), int(self.language_codes[index])
        item: Item = {"input_ids": self.ids[index], "labels": labels, "language": language}
        if self.teacher is not None:
            item["teacher"] = self.teacher[index].tolist()
        return item


def collate(items: Sequence[Item], packed: bool = False) -> dict[str, Any]:
    """A batch: `input_ids` and `attention_mask` (batch, sequence), `labels` (batch, heads), `language` (batch,).

    Rows are padded to the longest, or `packed` one after the other (`train.packing.pack`). Rows with a teacher's logits add
    `teacher` (batch, heads).
    """
    ids = [item["input_ids"] for item in items]
    batch = {
        **(pack(ids, first_position=PAD + 1) if packed else _pad(ids)),
        "labels": torch.tensor([item["labels"] for item in items], dtype=torch.long),
        "language": torch.tensor([item["language"] for item in items], dtype=torch.long),
    }
    if "teacher" in items[0]:
        batch["teacher"] = torch.tensor([item["teacher"] for item in items])
    return batch


def text_inputs(batch: dict[str, Any]) -> dict[str, Any]:
    """The part of a batch that the model reads: all but what the loss compares its outputs with."""
    return {name: part for name, part in batch.items() if name not in ("labels", "language", "teacher")}


def _pad(rows: Sequence[Ids]) -> dict[str, torch.Tensor]:
    longest = max(len(row) for row in rows)
    input_ids = torch.full((len(rows), longest), PAD, dtype=torch.long)
    attention_mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = torch.from_numpy(np.asarray(row, dtype=np.int64))
        attention_mask[index, : len(row)] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}
