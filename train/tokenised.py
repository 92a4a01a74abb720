"""Rows as token ids: tokenised once, in memory, padded only as far as their batch needs."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tqdm import tqdm

from train.encoder import PAD
from train.loss import MASKED


class Item(TypedDict):
    """One tokenised row: its ids, and one label per head (1, 0 or `MASKED`)."""

    input_ids: Sequence[int]
    labels: Sequence[int]


class TokenisedRows(torch.utils.data.Dataset[Item]):
    """An Example table's rows as `Item`s, in the table's order."""

    def __init__(self, table: Dataset, tokenizer: Tokenizer, heads: Sequence[str]) -> None:
        texts = list(table["text"])
        self.ids: list[npt.NDArray[np.int32]] = []
        for start in tqdm(range(0, len(texts), 2000), desc="tokenising", unit=" batches", disable=None):
            for encoding in tokenizer.encode_batch_fast(texts[start : start + 2000]):
                self.ids.append(np.asarray(encoding.ids, dtype=np.int32))
        self.labels = label_matrix(table, heads)
        self.lengths = np.asarray([len(ids) for ids in self.ids], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Item:
        return {"input_ids": self.ids[index].tolist(), "labels": self.labels[index].tolist()}


def label_matrix(table: Dataset, heads: Sequence[str]) -> npt.NDArray[np.int8]:
    """Labels of shape (rows, heads) with `MASKED` where nobody judged."""
    columns = [[MASKED if label is None else label for label in table[head][:]] for head in heads]
    return np.asarray(columns, dtype=np.int8).T.reshape(len(table), len(heads))


def collate(items: Sequence[Item]) -> dict[str, torch.Tensor]:
    """Pad a batch to its longest row: `input_ids`, `attention_mask` (batch, sequence), `labels` (batch, heads)."""
    longest = max(len(item["input_ids"]) for item in items)
    input_ids = torch.full((len(items), longest), PAD, dtype=torch.long)
    attention_mask = torch.zeros((len(items), longest), dtype=torch.long)
    for row, item in enumerate(items):
        ids = torch.tensor(item["input_ids"], dtype=torch.long)
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "labels": torch.tensor([item["labels"] for item in items], dtype=torch.long),
    }
