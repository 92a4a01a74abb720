"""What several test files share: composed settings, a tiny mixture, one tiny run and one tiny release per worker."""

import json
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from data_prep.pipeline import prepare
from data_prep.settings import DataPrepSettings, HeadSettings, MixtureSettings, ReaderSettings, SourceSettings, ValueSettings, to_settings
from data_prep.settings import register_schemas as register_data_prep
from evaluate.settings import register_schemas as register_evaluate
from export.bundle import export_release
from export.settings import AgreementSettings, ExportSettings
from export.settings import register_schemas as register_export
from tests.stage_server import run_module
from train.settings import TrainSettings
from train.settings import register_schemas as register_train
from train.stage import train

hypothesis.settings.register_profile("suite", deadline=None)  # two processes share two cores: time says nothing
hypothesis.settings.load_profile("suite")

ROOT = Path(__file__).resolve().parent.parent
HEADS = {name: HeadSettings(f"is it {name}?") for name in ("propaganda", "violence_glorification")}


@pytest.fixture(scope="session", autouse=True)
def _schemas() -> None:
    torch.set_num_threads(1)  # the suite runs one process per core
    for register in (register_data_prep, register_train, register_export, register_evaluate):
        register()


@pytest.fixture(scope="session")
def every_schema(_schemas: None) -> None:
    """The schemas of the sub-commands too."""
    from data_prep.fetch import FetchSettings
    from evaluate.functional.settings import register_schemas as register_functional
    from evaluate.label_audit.settings import register_schemas as register_label_audit
    from export.publish import register_schema as register_publish

    ConfigStore.instance().store(name="fetch_schema", node=FetchSettings)
    for register in (register_functional, register_label_audit, register_publish):
        register()


@pytest.fixture(scope="session")
def compose_stage(_schemas: None) -> Callable[..., Any]:
    """Compose a stage's config as its command line would: `compose_stage("train", "encoder=tiny")`."""

    def composed(stage: str, *overrides: str) -> Any:
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            return compose(stage, list(overrides))

    return composed


def start_stage_process(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run `python -m ...` in an interpreter of its own, in which nothing is imported that the stage does not import itself."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=280)


def run_stage_process(*arguments: str, cwd: Path | None = None, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `python -m ...` from the repository or from `cwd`, in a fork that has the libraries, and capture what it prints."""
    return run_module(*arguments, cwd=cwd or ROOT, environment={"PYTHONPATH": str(ROOT), **environment})


def run_command(line: str, checkout: Path) -> "subprocess.CompletedProcess[str]":
    """Run a line of a page, in a checkout of its own: `python -m ...` as `run_stage_process` does, others by bash."""
    if line.startswith("python -m "):
        return run_stage_process(*shlex.split(line, comments=True)[2:], cwd=checkout, PYTHONPATH=str(checkout))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(["bash", "-c", line], cwd=checkout, env=environment, capture_output=True, text=True, check=False, timeout=280)


def jsonl_source(name: str = "posts", **changes: Any) -> SourceSettings:
    """A source of JSON lines with `text`, `lang`, `split`, `group` and one 0/1/empty column per head."""
    settings: dict[str, Any] = {
        "name": name,
        "title": "Posts",
        "origin": "a test",
        "licence": "CC0-1.0",
        "files": f"{name}.jsonl",
        "reader": ReaderSettings(format="jsonl"),
        "text": "text",
        "family": "group",
        "language": ValueSettings(column="lang"),
        "split": ValueSettings(column="split"),
        "labels": {head: {head: {"1": 1, "0": 0, "": None}} for head in HEADS},
        "sense": dict.fromkeys(HEADS, "glorification"),
    }
    return SourceSettings(**(settings | changes))


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(json.dumps({"group": None, "split": None, **dict.fromkeys(HEADS), **row}) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def prepare_rows(tmp_path: Path, rows: list[dict[str, Any]], **changes: Any) -> Path:
    """Prepare rows as a one-source mixture below `tmp_path`."""
    write_jsonl(tmp_path / "raw" / "posts.jsonl", rows)
    mixture = MixtureSettings(name="mine", sources={"posts": jsonl_source(**changes)})
    return prepare(DataPrepSettings(mixture, HEADS, str(tmp_path / "raw"), str(tmp_path / "data")))


def tiny_rows(count: int = 240) -> list[dict[str, Any]]:
    """Rows a two-layer model can learn: the label is told by a word, in two languages, each head masked in a fifth."""
    random_ = random.Random(0)
    rows = []
    for index in range(count):
        violence, propaganda = random_.random() < 0.4, random_.random() < 0.4
        words = [random_.choice(["sun", "rain", "tea", "milk"]) for _ in range(4)] + ["zz"] * violence + ["qq"] * propaganda
        random_.shuffle(words)
        rows.append(
            {
                "text": f"{' '.join(words)} {index}",
                "lang": ("en", "ur-Latn")[index % 2],
                "split": ("train", "train", "validation", "test")[index // 2 % 4],
                "propaganda": None if index % 5 == 0 else int(propaganda),
                "violence_glorification": None if index % 5 == 1 else int(violence),
            }
        )
    return rows


def tiny_export(workspace: Path, **changes: Any) -> ExportSettings:
    """Settings under which the tiny run's int8 variant ships: 30 validation rows per language are few."""
    agreement = AgreementSettings(min_agreement=0.9, max_auprc_loss=0.1, min_rows=10, min_positives=5)
    return ExportSettings(**{"run": str(workspace / "runs" / "tiny" / "latest"), "agreement": agreement, **changes})


@pytest.fixture(scope="session")
def prepared_sample(tmp_path_factory: pytest.TempPathFactory, compose_stage: Callable[..., Any]) -> Path:
    """A data folder in which the embedded sample is prepared."""
    folder = tmp_path_factory.mktemp("data")
    prepare(to_settings(compose_stage("data_prep", f"data_dir={folder}", "engine.workers=1"), DataPrepSettings))
    return folder


def tiny_settings(folder: Path, *overrides: str) -> TrainSettings:
    """Settings of a run of the tiny encoder on the mixture that `prepare_rows` prepares below `folder`."""
    fast = ("encoder=tiny", "name=tiny", "trainer.epochs=12", "trainer.learning_rate=1e-2", "trainer.bf16=false", "trainer.trackers=[]")
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("train", overrides=[*fast, *overrides])
    settings: TrainSettings = to_settings(config, TrainSettings)
    settings.trainer.sampling.tokens_per_batch = 256
    settings.mixture = MixtureSettings(name="mine", sources={"posts": jsonl_source()})
    settings.data_dir, settings.runs_dir = str(folder / "data"), str(folder / "runs")
    return settings


@pytest.fixture(scope="session")
def tiny_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/mine, one finished run runs/tiny/latest and its release releases/tiny."""
    folder = tmp_path_factory.mktemp("workspace")
    prepare_rows(folder, tiny_rows())
    train(tiny_settings(folder))
    export_release(tiny_export(folder, release="tiny", releases_dir=str(folder / "releases")))
    return folder
