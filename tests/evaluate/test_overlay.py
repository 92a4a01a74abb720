"""One name, two packages: ours is the stage, Hugging Face's keeps all it had."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT


def test_theirs_and_ours_live_in_one_process() -> None:
    code = (
        "import evaluate, evaluate.metrics, evaluate.gate\n"
        "from evaluate.module import Metric\n"
        "assert evaluate.Metric is Metric and 'site-packages' in sys.modules['evaluate.module'].__file__\n"
        "assert issubclass(evaluate.metrics.HeadMetric, evaluate.Metric) and callable(evaluate.load)\n"
        "assert evaluate.gate.__file__.startswith(sys.argv[1])\n"
        "print(evaluate.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", f"import sys\n{code}", str(ROOT)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_theirs_come_when_asked_for() -> None:
    """The stage's own modules bring none of transformers' pipelines; `evaluator` is both a module and a function of theirs."""
    code = (
        "import sys, evaluate.report\n"
        "assert 'transformers.pipelines' not in sys.modules\n"
        "from evaluate import evaluator\n"
        "assert callable(evaluator) and 'transformers.pipelines' in sys.modules\n"
        "try:\n    evaluate.nothing\nexcept AttributeError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "module 'evaluate' has no attribute 'nothing'\n"


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("metrics", {"threshold": 0.5}, {"precision": 0.5, "recall": 0.5, "f1": 0.5, "auroc": 0.75}),
        ("group_metric", {"groups": ["a", "a", "b", "b"]}, {"equalized_odds_difference": 1.0, "fpr_difference": 1.0}),
    ],
)
def test_others_load_our_metrics_by_path(name: str, arguments: dict[str, Any], expected: dict[str, float], tmp_path: Path) -> None:
    """Outside this repository, where `evaluate` is Hugging Face's alone."""
    code = (
        "import evaluate, json, sys\n"
        "assert 'site-packages' in evaluate.__file__\n"
        "metric = evaluate.load(sys.argv[1], keep_in_memory=True)\n"
        "made = metric.compute(predictions=[0.9, 0.6, 0.4, 0.1], references=[1, 0, 1, 0], **json.loads(sys.argv[2]))\n"
        "print(json.dumps(made))"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "evaluate" / f"{name}.py"), json.dumps(arguments)],
        cwd=tmp_path, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.splitlines()[-1])
    assert {key: made[key] for key in expected} == expected
