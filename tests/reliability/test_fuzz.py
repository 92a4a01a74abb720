"""The rules of benchmarks/fuzz.py on a few hundred inputs that hypothesis makes; coverage-guided fuzzing looks further."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", ROOT / "benchmarks" / "fuzz.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.path", ["", str(ROOT)])
        spec.loader.exec_module(module)
    return module


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "label", "lang", "day", "split", "x"]), inner),
    max_leaves=8,
)


def as_lines(values: list[object]) -> bytes:
    import json

    return "\n".join(json.dumps(value) for value in values).encode("utf-8", "surrogatepass")


BYTES = st.binary(max_size=400) | st.lists(JSON, max_size=4).map(as_lines)


@pytest.mark.parametrize("kind", range(10))
def test_readers_raise_nothing_but_one_sentence(kind: int, fuzz: ModuleType, tmp_path: Path) -> None:
    check = fuzz.readers(tmp_path)

    @settings(max_examples=25)
    @given(BYTES)
    def run(content: bytes) -> None:
        check(bytes([kind]) + content)

    run()


def test_a_row_becomes_an_example_or_a_rejection(fuzz: ModuleType, tmp_path: Path) -> None:
    check = fuzz.rows(tmp_path)

    @settings(max_examples=200)
    @given(BYTES | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
    def run(content: bytes) -> None:
        check(content)

    run()


def test_the_client_answers_every_line(fuzz: ModuleType, tiny_workspace: Path) -> None:
    check = fuzz.client(tiny_workspace / "releases" / "tiny" / "artifact")

    @settings(max_examples=60)
    @given(BYTES)
    def run(content: bytes) -> None:
        check(content)

    run()
