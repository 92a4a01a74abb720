"""Does a smaller variant decide as float32 does, in every language? Measured on the run's validation rows."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from sklearn.metrics import average_precision_score

from data_prep.files import read_json
from data_prep.table import load_examples
from export.client import CORES
from export.parity import open_session
from export.settings import AgreementSettings
from train.encoder import PAD
from train.labels import MASKED
from train.policy import Policy
from train.run import Run
from train.sampling import batch_by_tokens
from train.selection import select_split
from train.tokenised import TokenisedRows


@dataclass(frozen=True)
class Cell:
    """A language and head: share of rows decided alike, and what is lost of the area under the precision-recall curve."""

    language: str
    head: str
    rows: int
    agreement: float
    auprc_loss: float | None  # None where the rows have too few positives

    def passes(self, settings: AgreementSettings) -> bool:
        """Whether the variant may ship as far as this language and head are concerned.

        One decision may differ in any language: of fewer than a hundred rows it would be more than a hundredth.
        """
        flips = round((1 - self.agreement) * self.rows)
        agrees = flips <= max(1, (1 - settings.min_agreement) * self.rows + 1e-9)
        return agrees and (self.auprc_loss is None or self.auprc_loss <= settings.max_auprc_loss)

    def __str__(self) -> str:
        loss = "" if self.auprc_loss is None else f", AUPRC {-self.auprc_loss:+.3f}"
        return f"{self.language} {self.head}: {100 * self.agreement:.1f}% of {self.rows} decisions agree{loss}"


@dataclass
class Evidence:
    """Tokenised validation rows: `ids` per row, `labels` (rows, heads), the rows' languages, and the policy that decides."""

    ids: list[npt.NDArray[np.int32]]
    labels: npt.NDArray[np.int8]
    languages: list[str]
    heads: list[str]
    policy: Policy

    def sample(self, rows_per_language: int) -> "Evidence":
        """The same with at most so many rows of each language."""
        chosen = balanced(self.languages, rows_per_language)
        return Evidence(
            [self.ids[row] for row in chosen], self.labels[chosen], [self.languages[row] for row in chosen], self.heads, self.policy
        )

    def logits(self, path: Path, tokens_per_batch: int = 384) -> npt.NDArray[np.float32]:
        """Logits (rows, heads) of a graph."""
        session = open_session(path, threads=1)  # and batches side by side: see the client
        logits = np.empty((len(self.ids), len(self.heads)), dtype=np.float32)
        lengths = np.asarray([len(ids) for ids in self.ids])

        def score(batch: list[int]) -> None:
            ids = np.full((len(batch), lengths[batch].max()), PAD, dtype=np.int64)
            for row, index in enumerate(batch):
                ids[row, : lengths[index]] = self.ids[index]
            mask = (np.arange(ids.shape[1]) < lengths[batch][:, None]).astype(np.int64)
            (logits[batch],) = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})

        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(score, batch_by_tokens(np.argsort(lengths, kind="stable"), lengths, tokens_per_batch)))
        return logits

    def compare(self, reference: npt.NDArray[np.float32], variant: npt.NDArray[np.float32], settings: AgreementSettings) -> list[Cell]:
        """One cell per language and head with at least `min_rows` rows.

        Every row counts for the agreement, also where nobody judged the head; only judged rows can for the AUPRC.
        """
        spoken = np.asarray(self.languages)
        cells = []
        for language in sorted(set(self.languages)):
            here = spoken == language
            if here.sum() < settings.min_rows:
                continue
            for column, head in enumerate(self.heads):
                policy = self.policy.heads[head]
                probabilities = [policy.probability(logits[here, column], spoken[here].tolist()) for logits in (reference, variant)]
                before, after = (values >= policy.threshold_of(language) for values in probabilities)
                truth = self.labels[here, column]
                judged = truth != MASKED
                loss = None
                if (truth == 1).sum() >= settings.min_positives and (truth == 0).any():
                    areas = [average_precision_score(truth[judged], logits[here, column][judged]) for logits in (reference, variant)]
                    loss = float(areas[0] - areas[1])
                cells.append(Cell(language, head, int(here.sum()), float((before == after).mean()), loss))
        return cells


def find_table(run: Run, data_dir: str | None) -> Dataset | str:
    """The prepared data the run was trained with; or, in words, why there is none."""
    trained_on: dict[str, Any] = run.record["data_manifest"]
    folder = Path(data_dir or run.record["settings"]["data_dir"]) / trained_on["mixture"]
    if not (folder / "manifest.json").is_file():
        return f"{folder} holds no prepared data: give data_dir=<folder that has {trained_on['mixture']}/>"
    if read_json(folder / "manifest.json")["table_sha256"] != trained_on["table_sha256"]:
        return f"{folder} was prepared anew since training: prepare the data the run was trained with"
    return load_examples(folder)


def find_evidence(run: Run, table: Dataset, settings: AgreementSettings) -> Evidence:
    """The validation rows the run was fitted with, balanced over languages."""
    heads = list(run.model.config.heads)
    table = select_split(table, "validation", heads)
    chosen = balanced(table["language"][:], settings.rows_per_language)
    table = table.select(chosen)
    rows = TokenisedRows(table, run.tokenizer, heads)
    return Evidence(rows.ids, rows.labels, table["language"][:], heads, run.policy)


def balanced(languages: Sequence[str], most: int) -> list[int]:
    """Indices of at most `most` rows of each language, spread evenly over its rows.

    >>> balanced(["en", "en", "en", "ur", "en"], 2)
    [0, 3, 4]
    """
    spoken = np.asarray(languages)
    chosen: list[int] = []
    for language in sorted(set(languages)):
        rows = np.flatnonzero(spoken == language)
        places = np.arange(len(rows)) if len(rows) <= most else np.linspace(0, len(rows) - 1, most).round().astype(int)
        chosen += rows[places].tolist()
    return sorted(chosen)
