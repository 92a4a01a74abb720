"""The same run exported twice gives the same bytes, and none that tell where it was exported."""

from pathlib import Path

import onnx

from export.bundle import export_release
from tests.conftest import tiny_export


def test_exporting_twice_gives_the_same_hashes(tiny_workspace: Path, tmp_path: Path) -> None:
    again = export_release(tiny_export(tiny_workspace, release="other", releases_dir=str(tmp_path)))
    first = tiny_workspace / "releases" / "tiny" / "artifact"
    assert (again / "SHA256SUMS").read_text(encoding="utf-8") == (first / "SHA256SUMS").read_text(encoding="utf-8")


def test_graphs_carry_no_path_of_the_machine(tiny_workspace: Path) -> None:
    paths = sorted((tiny_workspace / "releases" / "tiny" / "artifact").glob("model*.onnx"))
    assert paths
    for path in paths:
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")  # weights are random bytes: they may spell anything
        content = model.SerializeToString()
        for word in ("site-packages", ".py", str(Path(__file__).resolve().parents[2])):
            assert word.encode() not in content, (path.name, word)
