"""The layout that docs/architecture.md promises: nothing imports rightwards, and a module can be read in one sitting."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

STAGES = ("data_prep", "train", "export", "evaluate")
MODULES = [path for stage in STAGES for path in sorted((ROOT / stage).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """The packages that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_only_itself_and_what_is_to_its_left(stage: str) -> None:
    rightwards = set(STAGES[STAGES.index(stage) + 1 :])
    wrong = {str(path.relative_to(ROOT)) for path in MODULES if path.is_relative_to(ROOT / stage) and imported(path) & rightwards}
    assert not wrong


def test_an_artifact_is_opened_and_measured_without_torch() -> None:
    """Seconds that every release's evaluation would wait for, and nothing in an artifact needs."""
    names = "evaluate.measures, evaluate.predictions, evaluate.probes, evaluate.report, evaluate.functional.__main__, export.artifact"
    code = f"import sys, {names}\nprint('torch' in sys.modules, 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_modules_are_short() -> None:
    longest = 410  # four hundred, and a little grace: a module above that is two
    assert not {str(path.relative_to(ROOT)) for path in MODULES if len(path.read_text(encoding="utf-8").splitlines()) > longest}


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_finds_the_packages_and_not_a_benchmark_of_the_same_name(path: Path) -> None:
    """`python benchmarks/NAME.py` puts benchmarks/, which has a data_prep.py, first on the path: it must leave before the import."""
    text = path.read_text(encoding="utf-8")
    if imported(path) & set(STAGES):
        assert 0 < text.index("sys.path[0] = ") < min(text.index(f"from {stage}.") for stage in STAGES if f"from {stage}." in text)
