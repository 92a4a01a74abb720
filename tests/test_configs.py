"""Every config composes, opens with what it is for, and stays short."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.command import UserError
from data_prep.files import read_json
from data_prep.settings import DataPrepSettings, to_settings
from evaluate.settings import EvaluateSettings
from tests.conftest import ROOT
from train.settings import LossSettings, TrainSettings
from train.stage import train

CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "configs" / group).glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_every_file_is_short_and_says_what_it_is_for(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line for line in lines[:2] if line.startswith("# ") and not line.startswith("# @package")]
    assert comments, "the file opens with a line saying what it is for"
    assert len(lines) < 40


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_composes_with_every_option(experiment: str, compose_stage: Callable[..., Any]) -> None:
    groups = ("encoder", "trainer", "sampling", "loss", "head", "debug", "mixture")
    named = {group: "head@heads" if group == "head" else group for group in groups}
    # an option of every group at a time, as many times as the largest group has options: composing takes most of the time
    for chosen in itertools.zip_longest(*(options(group) for group in groups)):
        overrides = [f"{named[group]}={option}" for group, option in zip(groups, chosen, strict=True) if option]
        config = compose_stage("train", f"experiment={experiment}", *(() if chosen[-1] else ("mixture=sample",)), *overrides)
        settings: TrainSettings = to_settings(config, TrainSettings)
        assert settings.name == experiment
        assert settings.mixture.sources


def test_loss_and_sampling_are_chosen_by_name_and_one_value_at_a_time(compose_stage: Callable[..., Any]) -> None:
    plain = to_settings(compose_stage("train", "experiment=research_offline"), TrainSettings).trainer
    assert (plain.loss, plain.sampling.language_alpha, plain.sampling.max_negatives_per_source) == (LossSettings(), 1, 4000)
    chosen = compose_stage("train", "experiment=research_offline", "loss=asymmetric", "sampling=temperature", "trainer.loss.margin=0.1")
    trainer = to_settings(chosen, TrainSettings).trainer
    assert trainer.loss == LossSettings(kind="asymmetric", focus=4, positive_focus=0, margin=0.1)
    assert (trainer.sampling.language_alpha, trainer.sampling.max_negatives_per_source) == (0.5, 4000)
    robust = to_settings(compose_stage("train", "experiment=worst_language_dro"), TrainSettings).trainer
    assert (robust.loss.dro_step, robust.weight_decay) == (0.01, 0.1)


@pytest.mark.parametrize("gate", options("gate"))
def test_every_gate_composes(gate: str, compose_stage: Callable[..., Any]) -> None:
    settings: EvaluateSettings = to_settings(compose_stage("evaluate", "release=x", f"gate={gate}"), EvaluateSettings)
    assert settings.gate.name == gate


@pytest.mark.parametrize("source", options("source"))
def test_every_source_is_named_as_its_file(source: str, compose_stage: Callable[..., Any]) -> None:
    settings: DataPrepSettings = to_settings(compose_stage("data_prep", f"+source@mixture.sources.tried={source}"), DataPrepSettings)
    made = settings.mixture.sources["tried"]
    assert made.name == source
    assert made.labels
    assert made.sense.keys() == made.labels.keys()
    assert made.labels.keys() <= settings.heads.keys()


def test_xlmr_base_trains_on_research_by_default_and_a_mixture_overrides(compose_stage: Callable[..., Any]) -> None:
    assert compose_stage("train", "experiment=xlmr_base").mixture.name == "research"
    assert compose_stage("train", "experiment=xlmr_base").encoder.path == "FacebookAI/xlm-roberta-base"
    assert compose_stage("train", "experiment=xlmr_base", "mixture=sample").mixture.name == "sample"


def test_research_offline_prunes_its_own_encoder_and_leaves_another_as_it_is(compose_stage: Callable[..., Any]) -> None:
    own = compose_stage("train", "experiment=research_offline").encoder
    assert (own.kind, own.layers, own.feed_forward, own.attention_heads, own.reserve) == ("packaged", 9, 960, 8, 5000)
    other = compose_stage("train", "experiment=research_offline", "encoder=xlmr_large").encoder
    assert (other.layers, other.feed_forward, other.attention_heads) == (None, None, None)


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_trains_in_debug(
    experiment: str, tmp_path: Path, prepared_sample: Path, compose_stage: Callable[..., Any]
) -> None:
    common = ("debug=tiny", f"data_dir={prepared_sample}", f"runs_dir={tmp_path}")
    settings: TrainSettings = to_settings(compose_stage("train", f"experiment={experiment}", *common), TrainSettings)
    if settings.trainer.distillation.teachers:
        with pytest.raises(UserError, match="no run at runs/xlmr_large/latest"):
            train(settings)
        settings.trainer.distillation.teachers = [str(train(to_settings(compose_stage("train", "name=teacher", *common), TrainSettings)))]
    folder = train(settings)
    assert folder.parent.name == experiment
    assert read_json(folder / "run.json")["figures"]["steps"] == 8
