"""The datasheet tells counts, terms and fates of rows for people, and nothing in it can be a text or become markup."""

import copy
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.datasheet import build_manifest, count_cells, plot_counts, render_datasheet, render_datasheet_html, shown_reasons
from data_prep.files import read_json
from data_prep.licences import TERMS, licence_terms, terms_together
from data_prep.settings import DataPrepSettings, MixtureSettings
from tests.conftest import HEADS, ROOT, jsonl_source, prepare_rows

HEADINGS = {  # what a manifest may hold -> the heading it gets
    "language_check": "Declared and detected language",
    "leakage": "Leakage and families",
    "splits": "How the splits came out",
    "agreement": "Annotator agreement",
    "rejected_by_reason": "Why rows were rejected",
}
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Reads a page strictly: every element is closed in its turn. Keeps the tags, the attributes and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def cell(language: str, head: str, split: str, negatives: int, positives: int, source: str = "posts") -> dict[str, Any]:
    return {"source": source, "language": language, "head": head, "split": split, "negatives": negatives, "positives": positives}


def source(licence: str = "CC0-1.0", **changes: Any) -> dict[str, Any]:
    return {
        "rows_in": 20_000, "kept": 15_000, "duplicates": 3_000, "leaking": 1_500, "rejected": 500, "conflicts": 7,
        "title": "Posts", "origin": "a test", "licence": licence, "non_commercial": False, "cite": "Quorrin 2020",
        "sense": {"propaganda": "persuasion", "violence_glorification": "threat"}, **changes,
    }  # fmt: skip


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "mixture": "mine",
        "heads": ["propaganda", "violence_glorification"],
        "rows": 15_000,
        "config_sha256": "c0ffee",
        "table_sha256": {"data-00000-of-00001.arrow": "f00d"},
        "sources": {"posts": source()},
        "counts": [
            cell("ur", "propaganda", "train", 10_000, 400),
            cell("ur", "propaganda", "test", 1_000, 3),
            cell("sd", "violence_glorification", "train", 30, 0),
        ],
        **changes,
    }


def full_manifest() -> dict[str, Any]:
    """Everything that a manifest may hold."""
    facts = {
        "near_duplicates": 41,
        "unparsable_dates": 17,
        "held_out": False,
        "rejected_by_reason": {"empty text": 499, "unknown value 'perhaps' in column label": 1},
        "agreement": {
            "propaganda": {"alpha": 0.583, "alpha_low": 0.51, "alpha_high": 0.65, "pairwise_agreement": 0.9, "raters": 3, "rows": 812},
            "violence_glorification": {"alpha": None, "raters": 2, "rows": 9},
            "unvoted": {"alpha": None, "raters": 0, "rows": 0},
        },
    }
    return manifest(
        sources={"posts": source(**facts), "news": source("none stated")},
        language_check=[
            {"source": "posts", "language": "ur", "agree": 900, "disagree": 100, "not_checkable": 7, "detected": {"pnb": 90, "ur": 910}}
        ],
        leakage={
            "test_rows": 2_004, "near": 2, "share": 0.000998, "twins": {"my_news": 2}, "passes": True,
            "removed": [{"source": "posts", "split": "train", "against": "news", "rows": 1_500, "like": 1_322}],
        },
        held_out={"suite": {"licence": "CC-BY-NC-4.0", "non_commercial": True}},
        families={"count": 14_000, "largest": 312, "in_more_than_one_source": 9},
        splits=[{"source": "posts", "language": "ur", "head": "propaganda", "label": 1, "train": 400, "validation": 0, "test": 100}],
    )  # fmt: skip


def table_rows(markdown: str) -> list[list[str]]:
    """The cells of every table line; an escaped bar divides nothing."""
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in markdown.splitlines() if line.startswith("|")]


def test_counts_are_shown_by_source_language_head_and_sense() -> None:
    document = manifest()
    document["sources"]["posts"]["as_read"] = {"propaganda": {"ur": [11_234, 405]}}
    assert "| posts | ur | propaganda | persuasion | 11,234 / 405 | 10,000 / 400 | – | 1,000 / 3 |" in render_datasheet(document)
    assert "<td>11,234 / 405</td><td>10,000 / 400</td>" in render_datasheet_html(document)
    text = Page(render_datasheet_html(manifest())).text
    for expected in ("persuasion", "10,000 / 400", "1,000 / 3", "30 / 0", "c0ffee", "f00d"):
        assert expected in text


def test_markdown_tables_are_whole() -> None:
    widths = [len(row) for row in table_rows(render_datasheet(full_manifest()))]
    assert set(widths) == {3, 4, 7, 8, 10}
    assert widths.count(10) == 5, "accounts: heading, rule, two sources, all"


def test_every_fact_of_a_full_manifest_is_shown() -> None:
    markdown, page = render_datasheet(full_manifest()), Page(render_datasheet_html(full_manifest())).text
    for text in (markdown, page):
        for expected in (
            "near duplicates", "41", "The leakage audit passes.", "test rows 2,004", "share 0.10%", "twins, my_news 2", "posts (train)",
            "14,000 families", "312", "unknown value 'perhaps' in column label", "499", "0.58", "0.51 to 0.65", "812", "10.0%",
            "ur 910, pnb 90", "80.0%", "20.0%", "unparsable dates", "1,322", "suite (CC-BY-NC-4.0",
        ):  # fmt: skip
            assert expected.lower() in text.lower(), expected
        assert "unvoted" not in text, "no vote was compared, so there is nothing to say"
    assert "| posts | violence_glorification | – | – | – | 2 | 9 |" in markdown
    assert "| **all** | 40,000 | 30,000 | 6,000 | 3,000 | 1,000 | 41 | 14 | 17 | |" in markdown


@pytest.mark.parametrize("fact", HEADINGS)
def test_what_a_manifest_does_not_hold_is_left_out(fact: str) -> None:
    complete = full_manifest()
    older = copy.deepcopy(complete)
    older.pop("families")
    for holder in (older, older["sources"]["posts"]):
        holder.pop(fact, None)
    for render in (render_datasheet, render_datasheet_html):
        assert HEADINGS[fact] in render(complete)
        assert HEADINGS[fact] not in render(older)


@pytest.mark.parametrize(
    ("leakage", "verdict"),
    [
        ({"checked": {"rows": 812}, "removed": [], "remaining": 0}, "The leakage audit passes."),
        ({"checked": {"rows": 812}, "removed": [], "remaining": 6}, "6 row(s) that leak remain."),
        ({"passes": False, "near": 812}, "The leakage audit fails."),
    ],
)
def test_the_verdict_on_leakage(leakage: dict[str, Any], verdict: str) -> None:
    page = render_datasheet_html(manifest(leakage=leakage))
    assert verdict in page
    assert "812" in page
    assert ('class="bad"' in page) is not (verdict == "The leakage audit passes.")
    assert verdict.lower() in render_datasheet(manifest(leakage=leakage)).lower()


def test_the_page_needs_nothing_else() -> None:
    page = Page(render_datasheet_html(full_manifest()))
    assert not {"script", "img", "link", "iframe", "object"} & set(page.tags)
    for _, attributes in page.attributes:
        assert (attributes.get("href") or "#").startswith("#")
        assert "src" not in attributes
    html = render_datasheet_html(full_manifest())
    assert "prefers-color-scheme: dark" in html
    assert "@import" not in html
    assert "url(" not in html


def test_every_mark_of_the_plot_is_inside_it() -> None:
    page = Page(render_datasheet_html(manifest()))
    plots = [attributes for tag, attributes in page.attributes if tag == "svg" and attributes.get("class") == "plot"]
    assert len(plots) == 2
    marks = [attributes for tag, attributes in page.attributes if tag == "circle" and float(attributes["cx"] or 0) > 20]
    assert len(marks) == 2 * 3, "two marks for each of three cells"
    width = float(plots[0]["width"] or 0)
    assert all(84 <= float(mark["cx"] or 0) <= width for mark in marks)
    assert all(float(mark["cy"] or 0) < float(plots[0]["height"] or 0) for mark in marks)
    lines = [attributes for tag, attributes in page.attributes if tag == "line" and attributes.get("class") == "span"]
    assert len(lines) == 2, "a line says how unbalanced two counts are: none where one is zero"


def test_the_plot_is_logarithmic_with_a_place_for_zero() -> None:
    counts = [
        cell("ur", "propaganda", "train", 600, 10),
        cell("ur", "propaganda", "train", 400, 0, source="news"),
        cell("bn", "propaganda", "train", 1_000, 100),
        cell("bn", "propaganda", "test", 1, 0),
    ]
    plot = plot_counts(counts)
    assert plot["ticks"] == [("0", 0.0), ("1", 0.25), ("10", 0.5), ("100", 0.75), ("1k", 1.0)]
    bengali, urdu = plot["heads"]["propaganda"]
    assert (bengali["language"], urdu["language"]) == ("bn", "ur"), "most rows first"
    assert urdu["splits"] == {"train": {"negatives": 1_000, "positives": 10, "x_negatives": 1.0, "x_positives": 0.5}}
    assert bengali["splits"]["train"]["x_positives"] == 0.75
    assert bengali["splits"]["test"] == {"negatives": 1, "positives": 0, "x_negatives": 0.25, "x_positives": 0.0}


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), max_size=6))
def test_positions_keep_the_order_of_counts(pairs: list[tuple[int, int]]) -> None:
    plot = plot_counts([cell(f"x{index}", "h", "train", *pair) for index, pair in enumerate(pairs)])
    cells = [line["splits"]["train"] for line in plot["heads"].get("h", []) if line["splits"]]
    placed = sorted((found[label], found[f"x_{label}"]) for found in cells for label in ("negatives", "positives"))
    assert [x for _, x in placed] == sorted(x for _, x in placed)
    assert all(0 <= x <= 1 and math.isfinite(x) for _, x in placed)
    assert all(0 <= x <= 1 for _, x in plot["ticks"])


def test_an_empty_mixture_of_judgements_can_be_shown() -> None:
    assert Page(render_datasheet_html(manifest(counts=[]))).text
    assert render_datasheet(manifest(counts=[]))


def hostile_manifest(text: str) -> dict[str, Any]:
    """Everything that comes from data or a config says `text`."""
    made = full_manifest()
    made["sources"] = {text: source(text, title=text, origin=text, cite=text, sense={"propaganda": text})}
    made["sources"][text]["rejected_by_reason"] = {text: 3}
    for row in (*made["counts"], *made["language_check"], *made["splits"]):
        row.update(source=text, language=text)
    made["leakage"]["removed"][0].update(source=text, against=text)
    made["held_out"] = {text: {"licence": "MIT", "non_commercial": False}}
    return made


HARMLESS = hostile_manifest("MIT")


@settings(deadline=None, max_examples=40)
@given(st.text(min_size=1, max_size=30).filter(lambda text: text != "sample"))
def test_no_text_becomes_markup(text: str) -> None:
    hostile = hostile_manifest(text)
    hostile["sources"][text]["licence"] = "MIT"  # the same terms, so that both pages have the same parts
    assert Page(render_datasheet_html(hostile)).tags == Page(render_datasheet_html(HARMLESS)).tags
    assert [len(row) for row in table_rows(render_datasheet(hostile))] == [len(row) for row in table_rows(render_datasheet(HARMLESS))]


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", 'x" onload="y', "a|b", "\u202egnp.exe", "a\nb", "[x](y)", "\x1b[2J"])
def test_hostile_text_stays_text(text: str) -> None:
    page, markdown = render_datasheet_html(hostile_manifest(text)), render_datasheet(hostile_manifest(text))
    for shown in (page, markdown):
        assert "<script" not in shown
        assert "\u202e" not in shown
        assert "\x1b" not in shown
    assert 'onload="' not in page
    assert "[x](y)" not in markdown
    assert [len(row) for row in table_rows(markdown)] == [len(row) for row in table_rows(render_datasheet(HARMLESS))]
    if text.isprintable():
        assert text in Page(page).text


def test_a_column_of_texts_named_by_mistake_is_not_quoted() -> None:
    post = "Dalmire keeps its market open in winter and the baker's stall sells out by nine in the morning"
    for reason in (f"unknown split {post!r}", f"unknown value {post!r} in column body", f"unknown value '{post}"):
        made = manifest(sources={"posts": source(rejected_by_reason={reason: 500})})
        for shown in (render_datasheet(made), Page(render_datasheet_html(made)).text):
            assert "Dalmire keeps" in shown
            assert "stall sells" not in shown
            assert "morning" not in shown
    assert shown_reasons({f"unknown value {post!r} in column body": 1})[0][0].endswith(" in column body")
    language = manifest(counts=[cell(post, "propaganda", "train", 1, 1)])
    assert "morning" not in render_datasheet(language) + render_datasheet_html(language)


def test_many_reasons_are_summed_up() -> None:
    made = manifest(
        sources={"posts": source(rejected_by_reason={f"unknown value '{index}' in column c": 20 - index for index in range(14)})}
    )
    for shown in (render_datasheet(made), render_datasheet_html(made)):
        assert "unknown value" in shown
        assert len(re.findall("in column c", shown)) == 10
        assert "4 more reasons, in rejected.jsonl" in shown


def test_a_prepared_mixture_shows_no_post(tmp_path: Path) -> None:
    rows = [{"text": f"secret phrase {index}", "lang": "ur", "propaganda": 1} for index in range(9)] + [{"text": "", "lang": "ur"}]
    prepared = read_json(prepare_rows(tmp_path, rows) / "manifest.json")
    markdown, page = render_datasheet(prepared), render_datasheet_html(prepared)
    assert "| posts | ur | propaganda | glorification |" in markdown
    assert "Declared and detected language" in page
    assert "secret" not in markdown + page


def test_an_account_that_does_not_balance_is_never_published() -> None:
    made = DataPrepSettings(MixtureSettings(name="mine", sources={"posts": jsonl_source()}), HEADS)
    columns = {"source": ["posts"] * 3, "language": ["ur"] * 3, "split": ["test", "train", "train"]}
    table = pa.table({**columns, "propaganda": [1, 0, None], "violence_glorification": [None, None, 1]})
    account = {"rows_in": 4, "kept": 3, "duplicates": 1, "leaking": 0, "rejected": 0, "conflicts": 0}
    assert build_manifest(made, {"posts": account}, table, "", {})["counts"] == count_cells(table, sorted(HEADS)) == [
        cell("ur", "propaganda", "train", 1, 0), cell("ur", "propaganda", "test", 0, 1),
        cell("ur", "violence_glorification", "train", 0, 1),
    ]  # fmt: skip
    with pytest.raises(AssertionError, match="4 rows in, 3 accounted for"):
        build_manifest(made, {"posts": {**account, "duplicates": 0}}, table, "", {})


@pytest.mark.parametrize(
    ("licence", "terms"),
    [
        ("MIT", set()),
        ("Apache-2.0", set()),
        ("CC0-1.0", set()),
        ("CC BY 4.0", set()),
        ("CC-BY-4.0", set()),
        ("BSD-3-Clause", set()),
        ("CC-BY-NC-4.0", {"non_commercial"}),
        ("cc by-nc-sa 4.0", {"non_commercial", "share_alike"}),
        ("for non commercial research", {"non_commercial", "research_only"}),
        ("CC-BY-ND-4.0", {"no_derivatives"}),
        ("CC-BY-NC-ND-4.0", {"non_commercial", "no_derivatives"}),
        ("GPL-3.0", {"share_alike"}),
        ("AGPLv3", {"share_alike"}),
        ("ODbL-1.0", {"share_alike"}),
        ("Apache-2.0; sentences CC-BY-SA-4.0", {"share_alike"}),
        ("none stated", {"no_permission"}),
        ("", {"no_permission"}),
        ("MIT; the texts: not stated", {"no_permission"}),
        ("free for general research use", {"research_only"}),
        ("see the terms of Quorrin Press", {"unrecognised"}),
        ("Unlicense", set()),
    ],
)
def test_what_a_licence_says(licence: str, terms: set[str]) -> None:
    assert licence_terms(licence, False) == terms
    assert licence_terms(licence, True) == terms | {"non_commercial"}


def test_every_configured_licence_is_known() -> None:
    paths = sorted((ROOT / "configs" / "source").glob("*.yaml"))
    assert paths
    for path in paths:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        terms = licence_terms(document["licence"], document.get("non_commercial", False))
        assert "unrecognised" not in terms, path
        assert ("non_commercial" in terms) is document.get("non_commercial", False), f"{path}: the flag contradicts the licence's name"


def test_the_terms_of_a_mixture_name_their_sources() -> None:
    sources = {"a": source("CC-BY-NC-SA-4.0"), "b": source("GPL-3.0"), "c": source("none stated"), "d": source("MIT")}
    together = terms_together(sources)
    assert {term: [found["name"] for found in names] for term, names in together.items()} == {
        "non_commercial": ["a"], "no_permission": ["c"], "share_alike": ["a", "b"],
    }  # fmt: skip
    assert list(together) == [term for term in TERMS if term in together]
    for shown in (
        render_datasheet(manifest(sources=sources, counts=[])),
        Page(render_datasheet_html(manifest(sources=sources, counts=[]))).text,
    ):
        assert "Contains non-commercial sources: a." in shown
        assert "Every model trained on this mixture is non-commercial too" in shown
        assert "a (CC-BY-NC-SA-4.0), b (GPL-3.0)" in shown
        assert "question for a lawyer. Their licences differ" in shown
        assert "do not pass their rows on" in shown
        assert "not legal advice" in shown
        assert "d (MIT)" not in shown


def test_a_source_that_is_only_tested_on_does_not_bind_the_model() -> None:
    sources = {"a": source("CC-BY-NC-4.0", held_out=True), "b": source("MIT")}
    for shown in (render_datasheet(manifest(sources=sources, counts=[])), render_datasheet_html(manifest(sources=sources, counts=[]))):
        assert "Contains non-commercial sources" in shown
        assert "held out: tested on, not trained on" in shown
        assert "Every model trained on this mixture" not in shown


def test_a_permissive_mixture_says_so() -> None:
    for shown in (render_datasheet(manifest()), render_datasheet_html(manifest())):
        assert "licence forbids commercial use, redistribution or adaptation" in shown
        assert "non-commercial" not in shown


def test_the_unvalidated_sample_is_announced() -> None:
    sample = {"sample": source("Apache-2.0")}
    for render in (render_datasheet, render_datasheet_html):
        assert "not validated by native speakers" in render(manifest(sources=sample, counts=[]))
        assert "not validated by native speakers" not in render(manifest())
