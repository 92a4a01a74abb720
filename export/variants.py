"""The smaller variants of a release: each ships only if it decides as float32 does in every evaluated language."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from export.agreement import Cell, Evidence, balanced
from export.attention import sequence_first
from export.graph import save_graph
from export.outliers import Sizes, largest_activations
from export.parity import Parity
from export.quantise import dense_inputs, embeddings_fit_four_bits, layers, to_float16, to_int8
from export.settings import ExportSettings

TOLERANCE = {"fp32": 1e-3, "fp16": 0.05, "int8": 0.2}  # of golden logits: processors of other makes round differently
CALIBRATION_ROWS = 5  # per language, to find the channels with the largest activations
RANKING_ROWS = 4  # per language, to find the layers that suffer most from 8 bits
KEPT = (2, 4, 8, 16, 32)  # how many of those stay in float32, tried in this order


@dataclass
class Variant:
    """What was tried and measured, and whether it ships."""

    name: str
    ships: bool
    note: str
    kept: list[str] = field(default_factory=list)  # layers that stayed in float32
    cells: list[Cell] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """What the contract says about the variant."""
        return {"ships": self.ships, "note": self.note, "kept_in_float32": self.kept, "agreement": [asdict(cell) for cell in self.cells]}


def write_variants(model: onnx.ModelProto, folder: Path, evidence: Evidence | str, settings: ExportSettings) -> list[Variant]:
    """Write the variants that pass beside `folder/model.onnx`, and say of each what was measured.

    fp16 ships without evidence, if it is near enough (`check_fp16`): its logits differ in the third decimal. int8 never does.
    """
    found = []
    for name in settings.variants:
        path = folder / f"model.{name}.onnx"
        if name == "fp16":
            save_graph(to_float16(model), path, settings.external_above)
            found.append(Variant("fp16", True, "for GPUs; checked by parity"))
        elif isinstance(evidence, str):
            found.append(Variant("int8", False, f"withheld, because nothing shows that it decides as float32 does: {evidence}"))
        else:
            found.append(_search_int8(model, path, evidence, evidence.logits(folder / "model.onnx"), settings))
    return found


def check_fp16(variant: Variant, parity: Parity, folder: Path) -> None:
    """Withhold fp16, in place, if it leaves its tolerance: activations beyond 65,504 are infinite in it."""
    if variant.name == "fp16" and not parity.max_logit_difference <= TOLERANCE["fp16"]:  # nor is NaN
        variant.ships = False
        variant.note = f"withheld, because a logit differs by {parity.max_logit_difference:.1e} (allowed {TOLERANCE['fp16']})"
        for file in folder.glob("model.fp16.onnx*"):
            file.unlink()


def _search_int8(
    model: onnx.ModelProto, path: Path, evidence: Evidence, reference: npt.NDArray[np.float32], settings: ExportSettings
) -> Variant:
    """The int8 graph with the fewest layers kept in float32 that passes in every language; withheld if none does."""
    if not evidence.compare(reference, reference, settings.agreement):
        return Variant("int8", False, f"withheld, because no language has {settings.agreement.min_rows} validation rows")
    model = sequence_first(model)
    best: Variant | None = None
    tried: list[str] = []
    calibration = evidence.sample(CALIBRATION_ROWS).ids
    activations = largest_activations(model, dense_inputs(model), calibration, path)
    for keep, embedding_bits in _candidates(model, path, evidence, reference, activations):
        recipe = f"{embedding_bits}-bit embeddings, {len(keep)} of {len(layers(model))} layers in float32"
        written = save_graph(to_int8(model, keep, embedding_bits, activations), path, settings.external_above)
        cells = evidence.compare(reference, evidence.logits(path), settings.agreement)
        failing = [cell for cell in cells if not cell.passes(settings.agreement)]
        if not failing:
            return Variant("int8", True, "; ".join([recipe, *tried]), sorted(keep), cells)
        tried.append(f"not enough: {recipe} ({len(failing)} languages and heads fail, the worst {_worst(failing)})")
        best = Variant("int8", False, f"withheld, {'; '.join(tried)}", sorted(keep), cells)
        for file in written:
            file.unlink()
    assert best is not None  # the first candidate is always tried
    return best


def _worst(cells: list[Cell]) -> Cell:
    return min(cells, key=lambda cell: cell.agreement)


def _candidates(
    model: onnx.ModelProto, path: Path, evidence: Evidence, reference: npt.NDArray[np.float32], activations: Sizes
) -> Iterator[tuple[list[str], int]]:
    """Layers to keep and bits of the embeddings, smallest first: none, then more of those whose 8 bits alone move the logits most."""
    yield [], 4
    bits = 4 if embeddings_fit_four_bits(model) else 8
    if bits == 8:
        yield [], 8
    names = layers(model)
    few = evidence.sample(RANKING_ROWS)
    exact = reference[balanced(evidence.languages, RANKING_ROWS)]
    harm = {}
    for name in names:
        written = save_graph(to_int8(model, set(names) - {name}, 8, activations), path)
        harm[name] = float(np.square(few.logits(path) - exact).mean())
        for file in written:
            file.unlink()
    ranked = sorted(names, key=lambda name: -harm[name])
    for count in KEPT:
        if count < len(names):
            yield ranked[:count], bits
