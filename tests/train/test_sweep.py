"""Hydra's multirun trains each setting and leaves nothing but the runs."""

from pathlib import Path

from data_prep.files import read_json
from tests.conftest import run_stage_process


def test_a_sweep_makes_a_run_of_each_setting(prepared_sample: Path, tmp_path: Path) -> None:
    done = run_stage_process(
        "train", "--multirun", "experiment=quickstart", "debug=tiny", "trainer.trackers=[]", "trainer.seed=1,2",
        f"data_dir={prepared_sample}", "runs_dir=runs", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    runs = sorted(path.parent for path in tmp_path.glob("runs/quickstart/2*/run.json"))
    assert [read_json(run / "run.json")["settings"]["trainer"]["seed"] for run in runs] == [1, 2]
    assert "quickstart/latest" not in (tmp_path / "runs" / "index.md").read_text()
