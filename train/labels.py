"""Labels as a matrix; needs no torch, as whoever only reads an artifact's answers does not either."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from datasets import Dataset

MASKED = -100  # nobody judged; what transformers.Trainer leaves out when it counts the labels of a step


def label_matrix(table: Dataset, heads: Sequence[str]) -> npt.NDArray[np.int8]:
    """Labels of shape (rows, heads) with `MASKED` where nobody judged."""
    columns = [[MASKED if label is None else label for label in table[head][:]] for head in heads]
    return np.asarray(columns, dtype=np.int8).T.reshape(len(table), len(heads))
