"""Every engine gives the same results in the same order, and a worker's error is the one its function raised."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep.command import UserError
from data_prep.engine import Engine, Processes, Sequential, open_engine
from data_prep.near_duplicates import near_duplicate_pairs
from data_prep.pipeline import prepare
from data_prep.settings import DataPrepSettings, EngineSettings, MixtureSettings
from data_prep.table import load_examples
from tests.conftest import HEADS, jsonl_source, write_jsonl
from tests.data_prep.engine_work import end_from_outside, square
from tests.data_prep.test_near_duplicates import components, edited, random_posts


@pytest.fixture(scope="module", params=["local", "ray"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Two local workers of each kind."""
    if request.param == "ray":
        pytest.importorskip("ray", reason="needs requirements-ray.lock")
    with open_engine(EngineSettings(request.param, workers=2)) as opened:
        yield opened


def test_results_come_in_the_items_order(engine: Engine) -> None:
    assert list(engine.map(square, iter(range(40, 80)))) == [number * number for number in range(40, 80)]


def test_a_workers_error_reaches_the_caller(engine: Engine) -> None:
    with pytest.raises(UserError, match=r"^thirteen is not allowed"):
        list(engine.map(square, range(10, 20)))


def test_near_duplicates_are_the_same_as_in_one_process(engine: Engine) -> None:
    generator = random.Random(5)
    originals = random_posts(generator, 1_000)
    texts = originals + [edited(generator, text) for text in originals]
    alone = near_duplicate_pairs(texts)
    shared = near_duplicate_pairs(texts, engine=engine)
    assert components(len(texts), shared) == components(len(texts), alone)


def test_a_prepared_mixture_is_the_same_as_in_one_process(engine: Engine, tmp_path: Path) -> None:
    generator = random.Random(6)
    originals = random_posts(generator, 13_000)  # more than one chunk of rows
    rows = [{"text": text, "lang": "en", "propaganda": index % 2} for index, text in enumerate(originals)]
    rows += [{"text": edited(generator, text), "lang": "en", "propaganda": index % 2} for index, text in enumerate(originals[:1_500])]
    write_jsonl(tmp_path / "raw" / "posts.jsonl", rows)
    mixture = MixtureSettings(name="mine", sources={"posts": jsonl_source()})

    def table(name: str, settings: EngineSettings) -> dict[str, tuple[str, str]]:
        folder = prepare(DataPrepSettings(mixture, HEADS, str(tmp_path / "raw"), str(tmp_path / name), settings))
        loaded = load_examples(folder)
        return {row["id"]: (row["family"], row["split"]) for row in loaded.select_columns(["id", "family", "split"])}

    name = "local" if isinstance(engine, Processes) else "ray"
    alone = table("alone", EngineSettings(workers=1))
    assert table(name, EngineSettings(name, workers=2)) == alone
    assert len(alone) > 14_000


def test_few_items_start_no_process() -> None:
    with Processes(2) as engine:
        assert list(engine.map(square, [3])) == [9]
        assert "_pool" not in vars(engine)


def test_a_killed_worker_is_explained() -> None:
    with Processes(2) as engine, pytest.raises(UserError, match=r"a worker process was ended from outside.*engine\.workers=1"):
        list(engine.map(end_from_outside, range(4)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [(EngineSettings("spark"), "engine.name=spark is unknown"), (EngineSettings("ray", address="127.0.0.1:1"), "no Ray cluster at")],
)
def test_an_engine_that_is_not_there_says_so(settings: EngineSettings, message: str) -> None:
    if settings.name == "ray":
        pytest.importorskip("ray", reason="needs requirements-ray.lock")
    with pytest.raises(UserError, match=message), open_engine(settings):
        pass


def test_sequential_is_lazy() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(3):
            taken.append(number)
            yield number

    results: Iterator[int] = Sequential().map(square, items())
    assert (next(results), taken) == (0, [0])
