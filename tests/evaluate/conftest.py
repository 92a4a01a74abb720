"""The tiny release as the evaluation reads it: its settings, its scored rows, and what it answers to a few probes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.settings import to_settings
from evaluate.predictions import Scored, score
from evaluate.probes import Probes, probe
from evaluate.settings import EvaluateSettings


@pytest.fixture
def settings(tiny_workspace: Path, compose_stage: Callable[..., Any]) -> EvaluateSettings:
    made: EvaluateSettings = to_settings(compose_stage("evaluate", "release=tiny", "gate=demo"), EvaluateSettings)
    made.data_dir, made.releases_dir = str(tiny_workspace / "data"), str(tiny_workspace / "releases")
    made.gate.tiers["provisional"].min_negatives = made.gate.tiers["provisional"].min_positives = 4
    return made


@pytest.fixture
def scored(settings: EvaluateSettings) -> Scored:
    return score(settings)


@pytest.fixture(scope="session")
def probes(tiny_workspace: Path, compose_stage: Callable[..., Any]) -> Probes:
    """What the tiny artifact answers to one case per cell, and to a few edited rows."""
    overrides = ("release=tiny", "gate=demo", "probes.cases_per_cell=1", "probes.perturbed_rows=4")
    settings: EvaluateSettings = to_settings(compose_stage("evaluate", *overrides), EvaluateSettings)
    settings.data_dir, settings.releases_dir = str(tiny_workspace / "data"), str(tiny_workspace / "releases")
    made = probe(score(settings), settings)
    assert made is not None
    return made
