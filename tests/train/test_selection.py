"""Which rows a run trains on: languages left out, and a share of the families that is always the same."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from data_prep.command import UserError
from data_prep.table import load_examples
from tests.conftest import prepare_rows, tiny_rows, tiny_settings
from train import stage
from train.selection import leave_out, take_fraction
from train.settings import TrainSettings


def test_languages_are_left_out(tmp_path: Path) -> None:
    table = load_examples(prepare_rows(tmp_path, tiny_rows(80)))
    assert set(leave_out(table, ["en"])["language"]) == {"ur-Latn"}
    assert len(leave_out(table, [])) == len(table)
    with pytest.raises(UserError, match="leave_out names fr, which no row is in: the languages are en, ur-Latn"):
        leave_out(table, ["fr"])
    with pytest.raises(UserError, match="leaves no row to train on"):
        leave_out(table, ["en", "ur-Latn"])


def test_a_left_out_language_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the texts that an encoder is adapted to either; and it need not be in the validation rows."""
    few = [{**row, "lang": "bal", "text": f"{row['text']} {index}"} for index, row in enumerate(tiny_rows(40)) if row["split"] == "train"]
    prepare_rows(tmp_path, [*tiny_rows(80), *few])
    seen: list[Dataset] = []

    def fit(_: TrainSettings, train_table: Dataset, validation_table: Dataset, __: Path, corpus: Dataset) -> None:
        seen.extend((train_table, validation_table, corpus))
        raise UserError("seen enough")

    monkeypatch.setattr(stage, "fit", fit)
    with pytest.raises(UserError, match="seen enough"):
        stage.train(tiny_settings(tmp_path, "leave_out=[bal]"))
    assert [set(table["language"]) for table in seen] == [{"en", "ur-Latn"}] * 3


def test_a_larger_share_holds_the_rows_of_a_smaller_one_and_families_whole(tmp_path: Path) -> None:
    rows = [{**row, "group": f"g{index // 3}"} for index, row in enumerate(tiny_rows(600))]
    table = load_examples(prepare_rows(tmp_path, rows))
    fifth, half = (take_fraction(table, share) for share in (0.2, 0.5))
    assert set(fifth["id"]) < set(half["id"]) < set(table["id"])
    assert len(fifth) / len(table) == pytest.approx(0.2, abs=0.07)
    families = np.asarray(table["family"])
    assert set(fifth["id"]) == {row["id"] for row in table.select(np.flatnonzero(np.isin(families, fifth["family"][:])))}
    with pytest.raises(UserError, match="fraction=0 is no share"):
        take_fraction(table, 0)
    with pytest.raises(UserError, match="leaves none of"):
        take_fraction(table, 1e-9)
