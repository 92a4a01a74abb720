"""The report: whole, harmless, masked by default, and silent where there is no evidence."""

import base64
import csv
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import ModelCard

from data_prep.command import UserError
from data_prep.settings import to_settings
from evaluate.changes import PREDICTIONS
from evaluate.measures import GROUPINGS, MULTIPLE, measure
from evaluate.model_card import PROHIBITED
from evaluate.predictions import Scored, score
from evaluate.releases import write_index
from evaluate.report import write_report
from evaluate.settings import EvaluateSettings
from tests.conftest import ROOT, prepare_rows, tiny_rows
from train.loss import MASKED


@pytest.fixture
def settings(tiny_workspace: Path, compose_stage: Callable[..., Any]) -> EvaluateSettings:
    made: EvaluateSettings = to_settings(compose_stage("evaluate", "release=tiny", "gate=demo"), EvaluateSettings)
    made.data_dir, made.releases_dir = str(tiny_workspace / "data"), str(tiny_workspace / "releases")
    made.gate.tiers["provisional"].min_negatives = made.gate.tiers["provisional"].min_positives = 4
    return made


@pytest.fixture
def scored(settings: EvaluateSettings) -> Scored:
    return score(settings)


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))


def test_artifact_and_checkpoint_measure_the_same(settings: EvaluateSettings, scored: Scored, tiny_workspace: Path) -> None:
    settings.release, settings.run = None, str(tiny_workspace / "runs" / "tiny" / "latest")
    checkpoint = score(settings)
    assert (scored.kind, checkpoint.kind) == ("artifact", "checkpoint")
    np.testing.assert_allclose(scored.probabilities, checkpoint.probabilities, atol=1e-4)


FILES = {
    "report.html", "report.md", "metrics.json", "per_language.csv", "groups.csv", "dsa_transparency.csv", "model_card.md", PREDICTIONS,
}  # fmt: skip


def test_all_files_are_written_and_agree(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    folder = write_report(tmp_path / "report", scored, measure(scored, settings), settings)
    assert {path.name for path in folder.iterdir()} == FILES
    document = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    rows = read_csv(folder / "per_language.csv")
    assert {(cell["head"], cell["language"]) for cell in document["cells"]} == {(row["head"], row["language"]) for row in rows}
    assert len(rows) == 4
    for cell, row in zip(document["cells"], rows, strict=True):
        assert float(row["f1"]) == pytest.approx(cell["figures"]["f1"]["value"], abs=1e-6)
        assert float(row["fpr_high"]) == pytest.approx(cell["figures"]["fpr"]["high"], abs=1e-6)
        assert float(row["auroc_low"]) <= float(row["auroc"]) <= float(row["auroc_high"])
        assert row["all_negative_f1"] == "0.0"
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "Roman Urdu" in html
    for outside in ("http://", "https://", "src=", "@import", "url("):
        assert outside not in html, "no external resource"


def test_groups_add_up_to_the_test_rows(settings: EvaluateSettings, scored: Scored) -> None:
    groups = measure(scored, settings).groups
    for column, head in enumerate(scored.heads):
        judged = int((scored.labels[:, column] != MASKED).sum())
        for by in GROUPINGS:
            of_kind = [group for group in groups if group.head == head and group.by == by and group.language != MULTIPLE]
            assert sum(group.figures.n for group in of_kind) == judged
    (everything,) = [group for group in groups if group.by == "source" and group.language == MULTIPLE and group.head == "propaganda"]
    assert everything.source == "posts"


def test_below_the_minimum_there_is_a_reason_instead_of_numbers(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    settings.gate.tiers["provisional"].min_negatives = 10_000
    measures = measure(scored, settings)
    folder = write_report(tmp_path / "report", scored, measures, settings)
    rows = read_csv(folder / "per_language.csv")
    assert {row["tier"] for row in rows} == {"not_evaluated"}
    assert {row["f1"] + row["fpr"] + row["recall"] + row["keyword_f1"] + row["bpsn_auc"] for row in rows} == {""}
    assert "needs 10,000 and" in (folder / "report.md").read_text(encoding="utf-8")
    assert not measures.gate.passed
    assert {row["evaluated"] for row in read_csv(folder / "dsa_transparency.csv")} == {"no"}
    assert "No language has enough test rows" in (folder / "model_card.md").read_text(encoding="utf-8")


def test_posts_are_masked_unless_asked_for(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    scored.flagged[:] = scored.labels != 1  # everything wrong, so there are examples
    word = str(scored.rows[0]["text"]).split()[0]
    for show, expected in ((False, False), (True, True)):
        settings.report.show_text = show
        folder = write_report(tmp_path / "report", scored, measure(scored, settings), settings)
        assert (f"{word} " in (folder / "report.html").read_text(encoding="utf-8").split("Most confident errors")[1]) is expected
        assert (f"{word} " in (folder / "report.md").read_text(encoding="utf-8").split("Most confident errors")[1]) is expected
        for name in FILES - {"report.html", "report.md", PREDICTIONS}:
            assert f"{word} " not in (folder / name).read_text(encoding="utf-8"), name


HOSTILE = '<script>alert(1)</script> \u202eesrever\u202c =HYPERLINK("x") | [a](b) \x00 ' + "y" * 100_000


@pytest.mark.parametrize("show_text", [True, False])
def test_hostile_rows_stay_text_in_every_output(settings: EvaluateSettings, scored: Scored, tmp_path: Path, show_text: bool) -> None:
    """Hostile as a post, and as everything else a row may say: its language, source, script, sense and kind."""
    settings.report.show_text = show_text
    scored.flagged[:] = scored.labels != 1
    short, first = HOSTILE[:60], scored.rows[0]["text"]
    formula = '=HYPERLINK("x")<script>\u202e'

    def poison(row: dict[str, Any]) -> dict[str, Any]:
        sense = dict.fromkeys(scored.heads, formula)
        text = HOSTILE if row["text"] == first else HOSTILE[:1000]
        return {**row, "text": text, "source": formula, "script": formula, "hard_negative": short, "sense": sense}

    scored.rows = scored.rows.map(poison).map(lambda row: {**row, "language": formula if row["language"] == "en" else row["language"]})
    scored.record = {**scored.record, "data_manifest": {**scored.record["data_manifest"], "mixture": formula}}
    functional = pd.DataFrame([{"functionality": formula, "language": formula, "cases": 4, "passed": 1, "low": 0.0, "high": 0.7}])
    folder = write_report(tmp_path / "releases" / "tiny" / "report", scored, measure(scored, settings), settings, functional)
    index = write_index(tmp_path / "releases")
    for name in (*(folder / name for name in FILES - {PREDICTIONS}), index):
        text = name.read_text(encoding="utf-8-sig")
        assert "\x00" not in text, name
        assert "\u202e" not in text, name
        assert len(text) < 1_000_000, f"{name}: a long post is cut"
        if name.suffix == ".html":
            scripts = re.findall(r"<script[^>]*>", text)
            assert scripts == ([] if name == index else ['<script type="application/json" id="sweeps">', "<script>"]), name
            assert "&lt;script&gt;" in text, name
        if name.suffix == ".md":
            body = text.split("---", 2)[2] if name.name == "model_card.md" else text
            assert "<script" not in body, name
        if name.suffix == ".csv":
            cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
            assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t"))], name
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert re.search(r'<p dir="auto" lang="[^"]*"><bdi>', html), "the direction of a text cannot leak into the page"
    policy = re.search(r"script-src 'sha256-([^']+)'", html)
    script = html.rsplit("<script>", 1)[1].split("</script>")[0]
    assert policy is not None
    assert base64.b64decode(policy.group(1)) == hashlib.sha256(script.encode()).digest(), "no other script may run"


def test_markdown_tables_keep_their_columns(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    settings.report.show_text = True
    scored.flagged[:] = scored.labels != 1
    scored.rows = scored.rows.map(lambda row: {**row, "text": "a | b \\| c\n\nd `|`"})
    functional = pd.DataFrame([{"functionality": "f|g", "language": "ur", "cases": 4, "passed": 1, "low": 0.0, "high": 0.7}])
    folder = write_report(tmp_path / "report", scored, measure(scored, settings), settings, functional)
    for name in ("report.md", "model_card.md"):
        blocks = re.findall(r"(?:^\|.*\n)+", (folder / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert blocks
        for block in blocks:
            widths = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in block.splitlines()}
            assert len(widths) == 1, block


def test_the_heat_map_appears_with_its_table(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    measures = measure(scored, settings)
    without = write_report(tmp_path / "report", scored, measures, settings)
    assert 'id="functional"' not in (without / "report.html").read_text(encoding="utf-8")
    assert "one skill of telling speech apart" in (without / "report.md").read_text(encoding="utf-8")
    functional = pd.DataFrame(
        [
            {"functionality": "news", "language": "ur", "cases": 50, "passed": 50, "low": 0.93, "high": 1.0},
            {"functionality": "news", "language": "en", "cases": 50, "passed": 20, "low": 0.28, "high": 0.54},
            {"functionality": "recruit", "language": "en", "cases": 50, "passed": 5, "low": 0.04, "high": 0.21},
        ]
    )
    folder = write_report(tmp_path / "report", scored, measures, settings, functional)
    html = (folder / "report.html").read_text(encoding="utf-8").split('id="functional"')[1]
    assert html.index("recruit") < html.index("news"), "the worst first"
    for shown in ('class="h4"', 'class="h2"', 'class="h0"', ">100%<", ">40%<", ">10%<"):
        assert shown in html
    assert '<td class="soft">–</td>' in html, "a cell that was not tested"


def test_a_second_release_is_compared_with_the_first(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    settings.releases_dir = str(tmp_path)
    first = measure(scored, settings)
    assert first.comparison is None
    write_report(tmp_path / "tiny" / "report", scored, first, settings)
    before = json.loads((tmp_path / "tiny" / "report" / "metrics.json").read_text(encoding="utf-8"))["first_evaluated"]
    settings.release = scored.name = "tiny2"
    scored.flagged[:5] = ~scored.flagged[:5]
    second = measure(scored, settings)
    assert second.comparison is not None
    assert second.comparison.previous == "tiny"
    judged = scored.labels[:5] != MASKED
    assert sum(change.newly_wrong + change.newly_right for change in second.comparison.changes) == judged.sum()
    html = (write_report(tmp_path / "tiny2" / "report", scored, second, settings) / "report.html").read_text(encoding="utf-8")
    assert "Against release <bdi>tiny</bdi>" in html
    write_report(tmp_path / "tiny" / "report", scored, first, settings)
    again = json.loads((tmp_path / "tiny" / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert again["first_evaluated"] == before, "evaluating again does not change the order of releases"
    index = write_index(tmp_path).read_text(encoding="utf-8")
    assert 'href="tiny/report/report.html"' in index
    assert 'href="tiny2/report/report.html"' in index
    (tmp_path / "old" / "report").mkdir(parents=True)
    (tmp_path / "old" / "report" / "metrics.json").write_text('{"name": "old"}', encoding="utf-8")
    assert "old/report" not in write_index(tmp_path).read_text(encoding="utf-8"), "a report of an earlier version is left out"


def test_the_transparency_table_has_every_official_language(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    rows = read_csv(write_report(tmp_path / "report", scored, measure(scored, settings), settings) / "dsa_transparency.csv")
    assert len(rows) == 24 * 2
    english = next(row for row in rows if row["language_code"] == "en" and row["automated_means"] == "propaganda")
    maltese = next(row for row in rows if row["language_code"] == "mt")
    assert english["evaluated"] == "yes"
    assert float(english["accuracy"]) + float(english["error_rate"]) == pytest.approx(1)
    assert float(english["accuracy_low"]) < float(english["accuracy"]) <= float(english["accuracy_high"])
    assert (maltese["evaluated"], maltese["accuracy"], maltese["test_rows"]) == ("no", "", "0")
    assert "every flag goes to a person" in english["safeguards"]
    assert "purpose" in english


def test_the_model_card_names_what_is_prohibited(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    card = ModelCard.load(write_report(tmp_path / "report", scored, measure(scored, settings), settings) / "model_card.md")
    for use in PROHIBITED:
        assert use in card.text
    assert card.data.model_name == "tiny"
    assert {result.metric_type for result in card.data.eval_results} == {"f1", "fpr", "fnr"}


def test_the_slider_computes_with_what_the_page_says(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    measures = measure(scored, settings)
    html = (write_report(tmp_path / "report", scored, measures, settings) / "report.html").read_text(encoding="utf-8")
    data = json.loads(html.split('id="sweeps">')[1].split("</script>")[0])
    assert len(data) == len(measures.sweeps) == 4
    for sweep, drawn in zip(measures.sweeps, data, strict=True):
        (cell,) = [one for one in measures.cells if (one.head, one.language) == (sweep.head, sweep.language)]
        at = drawn["thresholds"].index(drawn["shipped"])
        assert drawn["fpr"][at] == pytest.approx(cell.figures.fpr.value, abs=1e-5)
        assert drawn["recall"][at] == pytest.approx(cell.figures.recall.value, abs=1e-5)
        assert drawn["thresholds"] == sorted(drawn["thresholds"])


class Structure(HTMLParser):
    """What a reader who cannot see the page depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.headings: list[int] = []
        self.ids: set[str] = set()
        self.references: set[str] = set()
        self.landmarks: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if "id" in found:
            if found["id"] in self.ids:
                self.problems.append(f"two elements have the id {found['id']}")
            self.ids.add(str(found["id"]))
        for name in ("aria-labelledby", "for"):
            if name in found:
                self.references.add(str(found[name]))
        if tag == "a" and str(found.get("href", "")).startswith("#"):
            self.references.add(str(found["href"])[1:])
        if tag in ("main", "header", "footer", "nav"):
            self.landmarks.add(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "th" and "scope" not in found:
            self.problems.append("a header cell without scope")
        if tag == "svg" and found.get("role") != "img" and found.get("aria-hidden") != "true":
            self.problems.append("a drawing without a role")
        if tag == "svg" and found.get("role") == "img" and not found.get("aria-label"):
            self.problems.append("a drawing without words")
        if found.get("class") == "scroll" and not (found.get("tabindex") == "0" and found.get("role") == "region"):
            self.problems.append("a part that scrolls and no key reaches")


def test_the_page_can_be_read_without_seeing_it(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    scored.flagged[:] = scored.labels != 1
    page = Structure()
    page.feed((write_report(tmp_path / "report", scored, measure(scored, settings), settings) / "report.html").read_text(encoding="utf-8"))
    assert page.problems == []
    assert page.landmarks == {"main", "header", "footer", "nav"}
    assert page.references <= page.ids, "every reference leads somewhere"
    assert page.headings[0] == 1
    assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False))


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_every_text_colour_has_contrast_in_every_scheme() -> None:
    style = (ROOT / "evaluate" / "templates" / "report.css").read_text(encoding="utf-8")
    schemes = [dict(re.findall(r"--(\w+): (#[0-9a-f]+)", block)) for block in re.findall(r":root \{([^}]*)\}", style)]
    assert len(schemes) == 3, "light, dark, print"
    for scheme in schemes:
        for text in ("ink", "soft", "good", "bad", "unsure", "mark"):
            for ground in ("paper", "card"):
                assert contrast(scheme[text], scheme[ground]) >= 4.5, (text, ground)  # WCAG 2.2, 1.4.3
        for step in ("h1", "h2", "h3", "h4"):
            assert contrast(scheme["ink"], scheme[step]) >= 4.5, step
        assert contrast("#ffffff", scheme["h0"]) >= 4.5


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
