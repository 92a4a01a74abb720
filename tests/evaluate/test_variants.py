"""What export measured of the smaller variants reaches the gate as it was measured."""

from pathlib import Path

import pytest

from data_prep.files import read_json
from evaluate.metrics import wilson
from evaluate.variants import measured_variants, shipped_agreement

CELLS = [{"language": "ur", "head": "p", "rows": 200, "agreement": 0.985, "auprc_loss": None}]


def contract(ships: bool) -> dict[str, object]:
    int8 = {"ships": ships, "note": "8-bit embeddings", "kept_in_float32": [], "agreement": CELLS}
    return {"measured": {"fp16": {"ships": True, "note": "for GPUs", "kept_in_float32": [], "agreement": []}, "int8": int8}}


def test_counts_and_intervals_are_of_the_rows_compared() -> None:
    fp16, int8 = measured_variants(contract(ships=True))
    assert fp16.worst is None
    assert int8.worst is not None
    agreeing = int8.worst.agreeing
    assert (agreeing.count, agreeing.of, agreeing.value) == (197, 200, 0.985)
    assert (agreeing.low, agreeing.high) == pytest.approx(wilson(197, 200))


def test_only_an_int8_model_that_ships_is_judged() -> None:
    assert shipped_agreement(measured_variants(contract(ships=False))) is None
    assert shipped_agreement(measured_variants({})) is None
    found = shipped_agreement(measured_variants(contract(ships=True)))
    assert found is not None
    assert [(one.head, one.variant, one.language) for one in found] == [("p", "int8", "ur")]


def test_a_release_speaks_of_its_variants(tiny_workspace: Path) -> None:
    written = read_json(tiny_workspace / "releases" / "tiny" / "artifact" / "contract.json")
    found = measured_variants(written)
    assert [variant.name for variant in found] == ["fp16", "int8"]
    assert len(found[1].agreement) == len(written["measured"]["int8"]["agreement"]) == 4
