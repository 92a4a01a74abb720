"""The report's page: what its slider computes with, what a reader who cannot see it depends on, and the contrast of its colours."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from evaluate.examples import worst_errors
from evaluate.explanations import explain
from evaluate.measures import measure
from evaluate.predictions import Scored
from evaluate.probes import Probes
from evaluate.report import write_report
from evaluate.settings import EvaluateSettings
from tests.conftest import ROOT


def test_the_slider_computes_with_what_the_page_says(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    measures = measure(scored, settings)
    html = (write_report(tmp_path / "report", scored, measures, settings) / "report.html").read_text(encoding="utf-8")
    data = json.loads(html.split('id="sweeps">')[1].split("</script>")[0])
    assert len(data) == len(measures.sweeps) == 4
    for sweep, drawn in zip(measures.sweeps, data, strict=True):
        (cell,) = [one for one in measures.cells if (one.head, one.language) == (sweep.head, sweep.language)]
        at = drawn["thresholds"].index(drawn["shipped"])
        assert drawn["fpr_high"][at] == pytest.approx(cell.figures.fpr.high, abs=1e-5)
        assert drawn["recall"][at] == pytest.approx(cell.figures.recall.value, abs=1e-5)
        assert drawn["thresholds"] == sorted(drawn["thresholds"])


def test_no_measured_error_is_no_promise_of_none(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    """The cards say what the headline says: with false positives at the upper end of their interval, which is never 0."""
    scored.probabilities[:] = np.where(scored.labels == 1, 0.999, 0.001)
    scored.flagged[:] = scored.labels == 1
    measures = measure(scored, settings)
    assert {cell.figures.fpr.value for cell in measures.cells} == {0.0}
    html = (write_report(tmp_path / "report", scored, measures, settings) / "report.html").read_text(encoding="utf-8")
    cards = html.split('id="deployment"')[1].split("</section>")[0]
    shown = [float(found) for found in re.findall(r"<output><b>([\d.]+)</b></output> are right", cards)]
    by_hand = []
    for sweep in measures.sweeps:
        (cell,) = [one for one in measures.cells if (one.head, one.language) == (sweep.head, sweep.language)]
        upper = cell.figures.fpr.high or 0.0
        assert f"flags 0.0% of negatives, or up to {100 * upper:.1f}%" in cards
        by_hand.append(1000 * 0.001 / (0.001 + upper * 0.999))  # recall is 1, and one post in 1,000 is positive
    assert shown == [pytest.approx(value, abs=0.05) for value in by_hand]
    assert max(shown) < 50


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


def test_the_page_can_be_read_without_seeing_it(settings: EvaluateSettings, scored: Scored, probes: Probes, tmp_path: Path) -> None:
    scored.flagged[:] = scored.labels != 1
    probes = replace(probes, explanations=explain(scored, worst_errors(scored)))
    folder = write_report(tmp_path / "report", scored, measure(scored, settings, probes), settings, probes)
    page = Structure()
    page.feed((folder / "report.html").read_text(encoding="utf-8"))
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
        for step in ("h1", "h2", "h3", "h4", "up1", "up2", "up3", "down1", "down2", "down3"):
            assert contrast(scheme["ink"], scheme[step]) >= 4.5, step
        assert contrast("#ffffff", scheme["h0"]) >= 4.5
