"""The report: whole, harmless, masked by default, and silent where there is no evidence."""

import base64
import csv
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import ModelCard

from data_prep.command import UserError
from data_prep.pipeline import prepare
from data_prep.settings import DataPrepSettings, MixtureSettings
from data_prep.table import load_examples
from evaluate.changes import PREDICTIONS
from evaluate.examples import worst_errors
from evaluate.explanations import explain
from evaluate.functional.__main__ import write_tables
from evaluate.functional.cases import functional_cases
from evaluate.functional.settings import SuiteSettings
from evaluate.functional.suite import SuiteResult, ask_suite
from evaluate.gate import FAIL, NOT_APPLICABLE, NOT_ENOUGH, PASS
from evaluate.measures import GROUPINGS, MULTIPLE, measure
from evaluate.model_card import PROHIBITED
from evaluate.predictions import Scored, score
from evaluate.probes import Probes, probe
from evaluate.releases import write_index
from evaluate.report import write_report
from evaluate.settings import EvaluateSettings, RuleSettings
from tests.conftest import HEADS, jsonl_source, prepare_rows, tiny_rows, write_jsonl
from train.labels import MASKED


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))


def test_artifact_and_checkpoint_measure_the_same(settings: EvaluateSettings, scored: Scored, tiny_workspace: Path) -> None:
    settings.release, settings.run = None, str(tiny_workspace / "runs" / "tiny" / "latest")
    checkpoint = score(settings)
    assert (scored.kind, checkpoint.kind) == ("artifact", "checkpoint")
    np.testing.assert_allclose(scored.probabilities, checkpoint.probabilities, atol=1e-4)


FILES = {
    "report.html", "report.md", "metrics.json", "per_language.csv", "groups.csv", "dsa_transparency.csv", "model_card.md", PREDICTIONS,
    "functional.csv", "robustness.csv", "terms.csv",
}  # fmt: skip


def test_all_files_are_written_and_agree(settings: EvaluateSettings, scored: Scored, probes: Probes, tmp_path: Path) -> None:
    folder = write_report(tmp_path / "report", scored, measure(scored, settings, probes), settings, probes)
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
        assert float(row["ngram_auroc"]) == pytest.approx(cell["ngram_auroc"], abs=1e-6)
    assert len(read_csv(folder / "functional.csv")) == len(document["functional"][0]["pass_rates"]) == 32 * 14
    assert len(read_csv(folder / "robustness.csv")) == len(document["robustness"]) == len(probes.robustness) > 20
    assert len(read_csv(folder / "terms.csv")) == len(document["terms"]) == len(probes.terms)
    assert {variant["name"] for variant in document["variants"]} == {"fp16", "int8"}
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
    assert {row["f1"] + row["fpr"] + row["recall"] + row["keyword_f1"] + row["ngram_auroc"] + row["bpsn_auc"] for row in rows} == {""}
    assert "needs 10,000 and" in (folder / "report.md").read_text(encoding="utf-8")
    assert not measures.gate.passed
    assert {row["evaluated"] for row in read_csv(folder / "dsa_transparency.csv")} == {"no"}
    assert "No language has enough test rows" in (folder / "model_card.md").read_text(encoding="utf-8")


def test_posts_are_masked_unless_asked_for(settings: EvaluateSettings, scored: Scored, probes: Probes, tmp_path: Path) -> None:
    scored.flagged[:] = scored.labels != 1  # everything wrong, so there are examples
    probes = replace(probes, explanations=explain(scored, worst_errors(scored)))
    word = str(scored.rows[0]["text"]).split()[0]
    for show, expected in ((False, False), (True, True)):
        settings.report.show_text = show
        folder = write_report(tmp_path / "report", scored, measure(scored, settings), settings, probes)
        assert (f"{word} " in (folder / "report.html").read_text(encoding="utf-8").split("Most confident errors")[1]) is expected
        assert (f"{word} " in (folder / "report.md").read_text(encoding="utf-8").split("Most confident errors")[1]) is expected
        html = (folder / "report.html").read_text(encoding="utf-8")
        assert '<mark class="up3">' in html.split("Most confident errors")[1], "words are shaded, masked or not"
        for name in FILES - {"report.html", "report.md", PREDICTIONS, "functional.csv", "terms.csv"}:
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
    cases = [{"functionality": formula, "case_id": formula, "test_case": HOSTILE[:1000], "label_gold": "non-hateful", "templ_id": formula}]
    pd.DataFrame(cases * 3).to_csv(tmp_path / "suite.csv", index=False)
    settings.suites = {
        "evil": SuiteSettings(
            name="evil",
            file=str(tmp_path / "suite.csv"),
            language=formula,
            labels={"propaganda": {formula: 0}},
            hard_negatives={formula: short},
        )
    }
    settings.probes.perturbed_rows = 4
    probes = probe(scored, settings)
    assert probes is not None
    assert probes.explanations
    folder = write_report(tmp_path / "releases" / "tiny" / "report", scored, measure(scored, settings, probes), settings, probes)
    write_tables(tmp_path / "functional", "tiny", probes.suites[0], None)
    index = write_index(tmp_path / "releases")
    tables = list((tmp_path / "functional").iterdir())
    assert len(tables) == 6
    for name in (*(folder / name for name in FILES - {PREDICTIONS}), index, *tables):
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
    posts = re.findall(r'<p dir="auto" lang="[^"]*">(.*?)</p>', html)
    assert posts
    assert not [post for post in posts if "<bdi" in post], "dir=auto looks past a bdi: such a post would stand at the left in any script"
    policy = re.search(r"script-src 'sha256-([^']+)'", html)
    script = html.rsplit("<script>", 1)[1].split("</script>")[0]
    assert policy is not None
    assert base64.b64decode(policy.group(1)) == hashlib.sha256(script.encode()).digest(), "no other script may run"


def test_markdown_tables_keep_their_columns(settings: EvaluateSettings, scored: Scored, probes: Probes, tmp_path: Path) -> None:
    settings.report.show_text = True
    scored.flagged[:] = scored.labels != 1
    scored.rows = scored.rows.map(lambda row: {**row, "text": "a | b \\| c\n\nd `|`"})
    probes = replace(probes, explanations=explain(scored, worst_errors(scored)))
    folder = write_report(tmp_path / "report", scored, measure(scored, settings), settings, probes)
    for name in ("report.md", "model_card.md"):
        blocks = re.findall(r"(?:^\|.*\n)+", (folder / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert blocks
        for block in blocks:
            widths = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in block.splitlines()}
            assert len(widths) == 1, block


def answered(*rows: tuple[str, str, str, int, int, int]) -> SuiteResult:
    """A suite of which is known how many cases pass: functionality, language, who validated it, gold, passed, cases."""
    same = {"head": "propaganda", "derived": "", "abstains": True}
    lines = [
        {
            **same,
            "case_id": f"{name}/{language}/{number}", "functionality": name, "language": language, "validated_by": signed,
            "gold": gold, "template_id": name, "hard_negative": "" if gold else "NEWS",
            "passed": number < passed, "flagged": (number < passed) == (gold == 1),
        }
        for name, language, signed, gold, passed, cases in rows
        for number in range(cases)
    ]  # fmt: skip
    table = pd.DataFrame(lines)
    return SuiteResult("known", table[["case_id", "language", "validated_by"]], table)


def test_the_heat_map_shows_shares_intervals_and_who_signed(
    settings: EvaluateSettings, scored: Scored, probes: Probes, tmp_path: Path
) -> None:
    measures = measure(scored, settings)
    without = write_report(tmp_path / "report", scored, measures, settings)
    assert 'id="functional"' not in (without / "report.html").read_text(encoding="utf-8")
    assert "only a release is asked" in (without / "report.md").read_text(encoding="utf-8")
    suite = answered(
        ("news", "ur", "", 0, 50, 50), ("news", "en", "A. Reader", 0, 20, 50), ("mourning", "en", "A. Reader", 0, 5, 50),
        ("recruit", "en", "A. Reader", 1, 30, 30),
    )  # fmt: skip
    folder = write_report(tmp_path / "report", scored, measures, settings, replace(probes, suites=[suite]))
    html = (folder / "report.html").read_text(encoding="utf-8").split('id="functional"')[1].split('id="terms"')[0]
    assert (
        html.index("Allowed speech") < html.index("mourning") < html.index(">news<") < html.index("Speech to flag") < html.index("recruit")
    )
    # Wilson by hand for 20 of 50: (0.4 + z2/100 +- z sqrt(0.24/50 + z2/10000)) / (1 + z2/50) = 27.6% and 53.8%
    for shown in ("h4", "h2", "h0"):
        assert f'class="{shown}"' in html
    assert "40% <small>28–54</small>" in html
    assert 'class="h4 few"' in html, "30 cases"
    assert '<td class="soft">–</td>' in html, "a cell that was not tested"
    assert 'Urdu <span class="soft">unvalidated</span>' in html
    assert 'English <span class="soft">unvalidated' not in html
    assert "<b>Unvalidated</b> in Urdu:" in html
    document = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert document["key_figures"]["suite_pass_rates"] == {"known": {"allowed": 0.5, "violating": 1.0}}


def test_the_gate_judges_allowed_speech_with_the_suite(settings: EvaluateSettings, scored: Scored, probes: Probes) -> None:
    rule = RuleSettings(limit=0.85, negatives=30, validated=True)
    settings.gate.rules = {"news_condemn_rights_dissent": rule}
    suite = answered(("news", "en", "", 0, 50, 50), ("news", "ur-Latn", "A. Reader", 0, 10, 50))
    (ruling,) = measure(scored, settings, replace(probes, suites=[suite])).gate.rulings
    found = {(finding.head, finding.where): finding for finding in ruling.findings}
    assert found["propaganda", "English (news reports)"].verdict == NOT_ENOUGH
    assert "no native speaker has validated" in found["propaganda", "English (news reports)"].reason
    assert found["propaganda", "Roman Urdu (news reports)"].verdict == FAIL
    missing = "condemnation, documentation of abuses, protest and criticism of the state"
    assert found["propaganda", "English"].reason == f"fewer than 30 test rows or cases of {missing}"
    rule.validated = False
    (ruling,) = measure(scored, settings, replace(probes, suites=[suite])).gate.rulings
    assert {finding.where: finding.verdict for finding in ruling.findings if finding.head == "propaganda"}["English (news reports)"] == PASS


def test_the_gate_judges_the_int8_model_that_ships(settings: EvaluateSettings, scored: Scored, probes: Probes) -> None:
    settings.gate.rules = {"int8_agreement": RuleSettings(limit=0.5, rows=10)}
    (ruling,) = measure(scored, settings, probes).gate.rulings
    assert ruling.verdict == PASS
    assert {(finding.head, finding.where) for finding in ruling.findings} == {
        (head, language) for head in scored.heads for language in ("English", "Roman Urdu")
    }
    withheld = [replace(variant, ships=False) for variant in probes.variants]
    (ruling,) = measure(scored, settings, replace(probes, variants=withheld)).gate.rulings
    assert ruling.verdict == NOT_APPLICABLE


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
    assert "not compared, because" not in html
    with_new = replace(second, comparison=replace(second.comparison, new_heads=["propaganda"]))
    folder = write_report(tmp_path / "tiny2" / "report", scored, with_new, settings)
    assert "Propaganda: not compared, because that release has no such head" in (folder / "report.html").read_text(encoding="utf-8")
    assert "Propaganda is not compared: that release has no such head" in (folder / "report.md").read_text(encoding="utf-8")
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


def test_a_table_prepared_anew_is_refused(settings: EvaluateSettings, tmp_path: Path) -> None:
    prepare_rows(tmp_path, tiny_rows(200))
    settings.data_dir = str(tmp_path / "data")
    with pytest.raises(UserError, match="prepared anew after this model was trained"):
        score(settings)


def other_mixture(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Prepare a second mixture, `other`, of rows under another source's name."""
    write_jsonl(folder / "raw" / "others.jsonl", rows)
    mixture = MixtureSettings(name="other", sources={"others": jsonl_source("others")})
    prepare(DataPrepSettings(mixture, HEADS, str(folder / "raw"), str(folder / "data")))


def test_rows_of_another_mixture_that_the_model_has_seen_are_left_out(
    settings: EvaluateSettings, tiny_workspace: Path, tmp_path: Path
) -> None:
    """Test rows of `other` are copies of training and validation rows of `mine`, of its test rows, and rows of its own."""
    shutil.copytree(tiny_workspace / "data" / "mine", tmp_path / "data" / "mine")
    known = {row["text"]: row for row in tiny_rows()}
    own = [{**row, "text": f"{row['text']} wholly of its own"} for row in list(known.values())[:12]]
    table = load_examples(tmp_path / "data" / "mine").to_pandas()
    copies = [known[text] for split in ("train", "validation", "test") for text in table.loc[table["split"] == split, "text"][:5]]
    rows = [{**row, "split": "test"} for row in [*own[:6], *copies]] + [{**row, "split": "train"} for row in own[6:]]
    other_mixture(tmp_path, rows)
    settings.mixture, settings.data_dir = "other", str(tmp_path / "data")
    scored = score(settings)
    assert scored.seen == 10, "five of training, five of validation"
    assert sorted(scored.rows["text"]) == sorted(row["text"] for row in [*own[:6], *copies[10:]])
    folder = write_report(tmp_path / "report", scored, measure(scored, settings), settings)
    for name in ("report.html", "report.md"):
        assert "10 test rows of the mixture are left out, because the model has seen them" in (folder / name).read_text(encoding="utf-8")

    other_mixture(tmp_path, [{**row, "split": "test"} for row in copies[:10]] + [{**row, "split": "train"} for row in own])
    with pytest.raises(UserError, match=r"has seen every test row of .*other in training: evaluate it on another mixture"):
        score(settings)


def test_where_the_trained_table_is_gone_the_report_warns(settings: EvaluateSettings, tmp_path: Path) -> None:
    other_mixture(tmp_path, tiny_rows())
    settings.mixture, settings.data_dir = "other", str(tmp_path / "data")
    scored = score(settings)
    assert scored.seen is None
    folder = write_report(tmp_path / "report", scored, measure(scored, settings), settings)
    for name in ("report.html", "report.md"):
        assert "some of these test rows may be rows that it has seen" in (folder / name).read_text(encoding="utf-8")


def test_what_ends_the_writing_leaves_neither_report_nor_tiers(
    settings: EvaluateSettings, scored: Scored, tiny_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = shutil.copytree(tiny_workspace / "releases" / "tiny" / "artifact", tmp_path / "tiny" / "artifact")
    before = {path.name: path.read_bytes() for path in artifact.iterdir() if path.is_file()}
    measures = replace(measure(scored, settings), tiers={"propaganda": {"en": "supported"}})

    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    for last_step in ("model_card", "stamp_tiers"):
        with monkeypatch.context() as patch:
            patch.setattr(f"evaluate.report.{last_step}", ended)
            with pytest.raises(KeyboardInterrupt):
                write_report(tmp_path / "tiny" / "report", scored, measures, settings, artifact=artifact)
        assert {path.name: path.read_bytes() for path in artifact.iterdir() if path.is_file()} == before, last_step
        assert not (tmp_path / "tiny" / "report").exists(), last_step
    write_report(tmp_path / "tiny" / "report", scored, measures, settings, artifact=artifact)
    assert json.loads((artifact / "policy.json").read_text(encoding="utf-8"))["tiers"] == {"propaganda": {"en": "supported"}}
    assert (tmp_path / "tiny" / "report" / "report.html").is_file()


def test_a_model_without_a_case_has_a_report_that_says_so(settings: EvaluateSettings, scored: Scored, tmp_path: Path) -> None:
    """As a model with heads of its own has none in the project's suite."""
    settings.probes.cases_per_cell, settings.probes.perturbed_rows = 1, 0
    settings.suites["foreign"] = SuiteSettings(name="foreign", file=str(tmp_path / "suite.csv"), labels={"recruitment": {"join": 1}})
    case = {"functionality": "join", "case_id": "1", "test_case": "Join the Zarnak Front", "label_gold": "violating"}
    pd.DataFrame([case]).to_csv(tmp_path / "suite.csv", index=False)
    probes = probe(scored, settings)
    assert probes is not None
    assert ([suite.name for suite in probes.suites], probes.without_cases) == (["project"], ["foreign"])
    assert probes.robustness == [], "no row is edited"
    settings.suites = {"foreign": settings.suites["foreign"]}
    probes = probe(scored, settings)
    assert probes is not None
    folder = write_report(tmp_path / "report", scored, measure(scored, settings, probes), settings, probes)
    for name in ("report.html", "report.md"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "Functional suite foreign: none of its cases is for a head of this model." in text
    assert read_csv(folder / "functional.csv") == []


def test_a_suite_that_tests_one_head_counts_its_own_cases(scored: Scored) -> None:
    assert scored.classifier is not None
    cases = functional_cases(1)
    judged = int(cases["propaganda"].notna().sum())
    assert 0 < judged < len(cases)
    contract = scored.classifier.contract
    probabilities = pd.DataFrame({"propaganda": np.full(len(cases), 0.5)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scored.classifier, "contract", {**contract, "heads": ["propaganda"]})
        patch.setattr("evaluate.functional.scoring.answered_probabilities", lambda _, texts, *__: probabilities[: len(texts)])
        made = ask_suite(scored.classifier, SuiteSettings(name="project"), 1)
    assert made is not None
    assert len(made.cases) == len(made.answers) == judged


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
