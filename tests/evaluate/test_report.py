"""The report: whole, harmless, masked by default, and silent where there is no evidence."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.command import UserError
from data_prep.settings import to_settings
from evaluate.measures import measure
from evaluate.predictions import Scored, score
from evaluate.report import write_report
from evaluate.settings import EvaluateSettings
from tests.conftest import prepare_rows, tiny_rows


@pytest.fixture
def settings(tiny_workspace: Path, compose_stage: Callable[..., Any]) -> EvaluateSettings:
    made: EvaluateSettings = to_settings(compose_stage("evaluate", "release=tiny", "gate=demo"), EvaluateSettings)
    made.data_dir, made.releases_dir = str(tiny_workspace / "data"), str(tiny_workspace / "releases")
    made.gate.tiers["provisional"].min_negatives = made.gate.tiers["provisional"].min_positives = 4
    return made


@pytest.fixture
def scored(settings: EvaluateSettings) -> Scored:
    return score(settings)


def read_csv(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "per_language.csv").read_text(encoding="utf-8").splitlines()))


def test_artifact_and_checkpoint_measure_the_same(settings: EvaluateSettings, scored: Scored, tiny_workspace: Path) -> None:
    settings.release, settings.run = None, str(tiny_workspace / "runs" / "tiny" / "latest")
    checkpoint = score(settings)
    assert (scored.kind, checkpoint.kind) == ("artifact", "checkpoint")
    np.testing.assert_allclose(scored.probabilities, checkpoint.probabilities, atol=1e-4)


def test_all_files_are_written_and_agree(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    folder = write_report(tmp_path / "report", scored, measure(scored, settings), settings)
    assert {path.name for path in folder.iterdir()} == {"report.html", "report.md", "metrics.json", "per_language.csv"}
    document = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    rows = read_csv(folder)
    assert {(cell["head"], cell["language"]) for cell in document["cells"]} == {(row["head"], row["language"]) for row in rows}
    assert len(rows) == 4
    for cell, row in zip(document["cells"], rows, strict=True):
        assert float(row["f1"]) == pytest.approx(cell["figures"]["f1"], abs=1e-6)
        assert float(row["fpr_high"]) == pytest.approx(cell["figures"]["fpr"]["high"], abs=1e-6)
        assert row["all_negative_f1"] == "0.0"
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "Roman Urdu" in html
    assert "http://" not in html, "no external resource"
    assert "https://" not in html, "no external resource"


def test_below_the_minimum_there_is_a_reason_instead_of_numbers(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    settings.gate.tiers["provisional"].min_negatives = 10_000
    measures = measure(scored, settings)
    folder = write_report(tmp_path / "report", scored, measures, settings)
    rows = read_csv(folder)
    assert {row["tier"] for row in rows} == {"not_evaluated"}
    assert {row["f1"] + row["fpr"] + row["recall"] + row["keyword_f1"] for row in rows} == {""}
    assert "needs 10,000 and" in (folder / "report.md").read_text(encoding="utf-8")
    assert not measures.gate.passed


def test_posts_are_masked_unless_asked_for(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    scored.flagged[:] = scored.labels != 1  # everything wrong, so there are examples
    word = str(scored.rows[0]["text"]).split()[0]
    for show, expected in ((False, False), (True, True)):
        settings.report.show_text = show
        html = (write_report(tmp_path / "report", scored, measure(scored, settings), settings) / "report.html").read_text(encoding="utf-8")
        assert (f"{word} " in html.split("Most confident errors")[1]) is expected


def test_hostile_text_stays_text(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    settings.report.show_text = True
    scored.flagged[:] = scored.labels != 1
    hostile = "<script>alert(1)</script>\u202e =HYPERLINK(1)"
    scored.rows = scored.rows.map(lambda row: {**row, "text": hostile})
    html = (write_report(tmp_path / "report", scored, measure(scored, settings), settings) / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert '<p dir="auto"' in html, "the direction of a text cannot leak into the page"


def test_a_table_prepared_anew_is_refused(settings: EvaluateSettings, tmp_path: Path) -> None:
    prepare_rows(tmp_path, tiny_rows(200))
    settings.data_dir = str(tmp_path / "data")
    with pytest.raises(UserError, match="prepared anew after this model was trained"):
        score(settings)


def test_release_or_run_but_not_both(settings: EvaluateSettings) -> None:
    settings.run = "runs/x"
    with pytest.raises(UserError, match="either release"):
        score(settings)
    settings.run = settings.release = None
    with pytest.raises(UserError, match="either release"):
        score(settings)


def test_a_missing_release_says_how_to_make_it(settings: EvaluateSettings, tmp_path: Path) -> None:
    settings.releases_dir = str(tmp_path)
    shutil.rmtree(tmp_path / "tiny", ignore_errors=True)
    with pytest.raises(UserError, match="python -m export"):
        score(settings)
