"""One name, two packages: ours is the stage, Hugging Face's keeps all it had."""

import subprocess
import sys

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


def test_our_metric_computes_offline() -> None:
    from evaluate.metrics import HeadMetric

    result = HeadMetric(keep_in_memory=True).compute(predictions=[0.9, 0.6, 0.4, 0.1], references=[1, 0, 1, 0], threshold=0.5)
    assert result["precision"] == result["recall"] == result["f1"] == 0.5
    assert result["auroc"] == 0.75
