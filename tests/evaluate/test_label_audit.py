"""The label audit: planted errors come out on top, a model judges only rows it has not seen, and nothing is lost or shown."""

import csv
import io
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evaluate.label_audit.audit
from data_prep.command import UserError
from data_prep.files import read_json, sha256, write_json
from data_prep.settings import MixtureSettings, to_settings
from data_prep.table import load_examples
from evaluate.escaping import spreadsheet_text
from evaluate.label_audit.audit import audit_labels, expected_seconds, family_folds
from evaluate.label_audit.contradictions import count_contradictions, find_contradictions
from evaluate.label_audit.review_list import Audit, Judge, console_table, render_csv, render_markdown
from evaluate.label_audit.settings import LabelAuditSettings, register_schemas
from tests.conftest import HEADS, jsonl_source, prepare_rows, run_stage_process
from train.labels import label_matrix
from train.prediction import predict_logits
from train.run import load_run
from train.selection import select_split
from train.settings import TrainSettings
from train.stage import fit, train
from train.tokenised import TokenisedRows

FOLDS = 2
PLANTED_SHARE = 0.06
Planted = set[tuple[str, str]]


def easy_rows(count: int) -> tuple[list[dict[str, Any]], Planted]:
    """Posts in which a word tells the label, in threads of three, and the (text, head) whose label is wrong."""
    random_ = random.Random(0)
    rows: list[dict[str, Any]] = []
    planted = set()
    for index in range(count):
        words = ["".join(random_.choices("abcdefgh", k=4)) for _ in range(5)]
        truth = {head: int(random_.random() < 0.4) for head in HEADS}
        text = " ".join([*words, *(marker for marker, head in zip(("zzzz", "qqqq"), HEADS, strict=True) if truth[head])])
        labels: dict[str, int | None] = {}
        for position, head in enumerate(HEADS):
            wrong = random_.random() < PLANTED_SHARE
            labels[head] = None if index % 5 == position else abs(truth[head] - wrong)
            if wrong and labels[head] is not None:
                planted.add((text, head))
        split = ("train", "train", "validation", "test")[index // 3 % 4]
        rows.append({"text": text, "lang": ("en", "ur-Latn")[index % 2], "group": f"thread {index // 3}", "split": split, **labels})
    return rows, planted


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, compose_stage: Callable[..., Any]) -> tuple[Path, Planted]:
    """A folder with data/mine and a run trained on it, and the labels in it that are wrong."""
    folder = tmp_path_factory.mktemp("audited")
    rows, planted = easy_rows(480)
    prepare_rows(folder, rows)
    overrides = ("encoder=tiny", "name=tiny", "trainer.epochs=8", "trainer.learning_rate=3e-3", "trainer.best_metric=loss")
    recipe: TrainSettings = to_settings(compose_stage("train", *overrides, "trainer.bf16=false"), TrainSettings)
    recipe.trainer.sampling.tokens_per_batch = 128
    recipe.mixture = MixtureSettings(name="mine", sources={"posts": jsonl_source()})
    recipe.data_dir, recipe.runs_dir = str(folder / "data"), str(folder / "runs")
    train(recipe)
    return folder, planted


def settings_of(folder: Path, **changes: Any) -> LabelAuditSettings:
    values: dict[str, Any] = {"run": str(folder / "runs" / "tiny" / "latest"), "out": str(folder), "folds": FOLDS}
    return LabelAuditSettings(**(values | {"data_dir": str(folder / "data")} | changes))


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts)
    return {str(path.relative_to(folder)): sha256(path) for path in files}


class Audited:
    """An audit that really ran, what its models trained on and judged, and the files before and after."""

    def __init__(self, folder: Path, planted: Planted, out: Path) -> None:
        self.workspace, self.planted = folder, planted
        self.trained_on: list[Any] = []  # (model, rows) of each call
        self.judged: list[Any] = []
        self.before = hashes(folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evaluate.label_audit.audit, "fit", self._fit)
            real = evaluate.label_audit.audit._judge_rows

            def judge_rows(model: Any, tokenizer: Any, policy: Any, rows: Any) -> Any:
                self.judged.append((model, rows))
                return real(model, tokenizer, policy, rows)

            patch.setattr(evaluate.label_audit.audit, "_judge_rows", judge_rows)
            self.audit, self.folder = audit_labels(settings_of(folder, out=str(out)))
        self.after = hashes(folder)

    def _fit(self, settings: TrainSettings, train_table: Any, validation_table: Any, folder: Path) -> Any:
        fitted = fit(settings, train_table, validation_table, folder)
        self.trained_on.append((fitted.model, train_table))
        return fitted


@pytest.fixture(scope="module")
def audited(workspace: tuple[Path, Planted], tmp_path_factory: pytest.TempPathFactory) -> Audited:
    return Audited(*workspace, out=tmp_path_factory.mktemp("out"))


def test_planted_errors_are_found_and_rank_on_top(audited: Audited) -> None:
    cells = audited.audit.cells
    cells = cells.assign(planted=[cell in audited.planted for cell in zip(cells["text"], cells["head"], strict=True)])
    assert cells["planted"].sum() == len(audited.planted) > 30
    for part in (cells[cells["split"] == "train"], cells[cells["split"] != "train"]):
        assert part.loc[part["planted"], "contradicted"].mean() >= 0.9
        assert part.loc[part["contradicted"], "planted"].mean() >= 0.8
    for _, listed in cells[cells["contradicted"]].groupby("language"):
        assert listed["rank"].tolist() == list(range(1, len(listed) + 1))
        assert listed["quality"].is_monotonic_increasing
        assert listed["planted"].iloc[:8].all()


def test_every_label_is_judged_once_and_by_a_model_that_has_not_seen_its_family(audited: Audited) -> None:
    table = load_examples(audited.workspace / "data" / "mine")
    labels = label_matrix(table, sorted(HEADS))
    expected = {
        (table["id"][row], sorted(HEADS)[column]): labels[row, column] for row, column in zip(*np.nonzero(labels >= 0), strict=True)
    }
    cells = audited.audit.cells
    assert len(cells) == len(expected)
    assert dict(zip(zip(cells["id"], cells["head"], strict=True), cells["label"], strict=True)) == expected

    (run_model, held_out), *by_folds = audited.judged
    assert len(by_folds) == len(audited.trained_on) == FOLDS
    assert "train" not in set(held_out["split"])
    assert all(model is not run_model for model, _ in by_folds)
    for (model, rows), (trained, train_rows) in zip(by_folds, audited.trained_on, strict=True):
        assert model is trained
        assert set(rows["split"]) | set(train_rows["split"]) == {"train"}
        assert not set(rows["family"]) & set(train_rows["family"])
    assert [judge.judged_rows for judge in audited.audit.judges] == [len(rows) for _, rows in audited.judged]
    assert [judge.train_rows for judge in audited.audit.judges[1:]] == [len(rows) for _, rows in audited.trained_on]


def test_the_recipe_of_a_fold_is_the_run_s_own(audited: Audited, tmp_path: Path) -> None:
    """Fitted on the run's own rows it gives the run's own model: what differs in a fold is the rows, and nothing else."""
    run = load_run(audited.workspace / "runs" / "tiny" / "latest")
    table = load_examples(audited.workspace / "data" / "mine")
    heads = run.model.config.heads
    recipe: TrainSettings = to_settings(run.record["settings"], TrainSettings)
    fitted = fit(recipe, select_split(table, "train", heads), select_split(table, "validation", heads), tmp_path / "fold")
    assert fitted.policy == run.policy
    rows = TokenisedRows(select_split(table, "test", heads), run.tokenizer, heads)
    np.testing.assert_allclose(predict_logits(fitted.model, rows)[0], predict_logits(run.model, rows)[0], atol=1e-6)


def test_nothing_is_deleted_or_changed(audited: Audited) -> None:
    assert audited.before == audited.after
    assert {path.name for path in audited.folder.iterdir()} == {"label_audit.csv", "label_audit.md"}
    assert [path.name for path in audited.folder.parent.iterdir()] == ["label_audit"], "no scratch folder is left"


def test_the_list_and_the_page_agree(audited: Audited) -> None:
    rows = read_csv((audited.folder / "label_audit.csv").read_text(encoding="utf-8"))
    cells = audited.audit.cells
    assert [(row["id"], row["head"], int(row["rank"])) for row in rows] == [
        (row["id"], row["head"], row["rank"]) for row in cells[cells["contradicted"]].to_dict("records")
    ]
    for row in rows:
        probability = float(row["probability"])
        assert float(row["quality"]) == pytest.approx(probability if row["label"] == "1" else 1 - probability, abs=2e-6)
    page = (audited.folder / "label_audit.md").read_text(encoding="utf-8")
    for language, name in (("en", "English"), ("ur-Latn", "Roman Urdu")):
        for head in HEADS:
            judged = ((cells["language"] == language) & (cells["head"] == head)).sum()
            listed = sum(row["language"] == language and row["head"] == head for row in rows)
            assert f"| {name} | {head} | {judged} | {listed} |" in page


def test_texts_are_masked_unless_asked_for(audited: Audited) -> None:
    texts = audited.audit.cells["text"]
    for name in ("label_audit.md", "label_audit.csv"):
        content = (audited.folder / name).read_text(encoding="utf-8")
        assert not any(text in content or text.split()[0] in content.split() for text in texts)
        assert "zzzz" not in content
        assert ("q•••" in content) is (name == "label_audit.md")
    first = audited.audit.cells["text"].iloc[0]
    assert first in render_markdown(audited.audit, show_text=True)
    assert read_csv(render_csv(audited.audit.cells, show_text=True))[0]["text"] == first


def test_the_command_writes_beside_the_run(workspace: tuple[Path, Planted]) -> None:
    folder, _ = workspace
    run = folder / "runs" / "tiny" / "latest"
    done = run_stage_process("evaluate.label_audit", f"run={run}", "folds=0", f"data_dir={folder}/data")
    assert done.returncode == 0, done.stderr
    assert f"labels to review, nothing deleted or changed -> {run}/label_audit/label_audit.csv" in done.stdout
    assert "next: " in done.stdout
    rows = read_csv((run / "label_audit" / "label_audit.csv").read_text(encoding="utf-8"))
    assert {row["split"] for row in rows} == {"validation", "test"}
    assert "Training rows were not audited" in (run / "label_audit" / "label_audit.md").read_text(encoding="utf-8")


def test_a_missing_run_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = run_stage_process("evaluate.label_audit", "run=nowhere", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        "error: no run at nowhere: train one with `python -m train experiment=quickstart`"
    ]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("folds", "says"), [(1, "folds=1 is not possible"), (-1, "or 0"), (1000, "families of training rows")])
def test_impossible_folds_are_refused(workspace: tuple[Path, Planted], tmp_path: Path, folds: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        audit_labels(settings_of(workspace[0], folds=folds, out=str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_table_prepared_anew_is_refused(workspace: tuple[Path, Planted], tmp_path: Path) -> None:
    prepare_rows(tmp_path, easy_rows(100)[0])
    with pytest.raises(UserError, match="prepared anew after this model was trained"):
        audit_labels(settings_of(workspace[0], data_dir=str(tmp_path / "data")))


def test_an_interrupted_audit_leaves_the_previous_list(
    workspace: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "label_audit").mkdir()
    (tmp_path / "label_audit" / "label_audit.csv").write_text("reviewed", encoding="utf-8")

    def interrupted(*arguments: Any) -> None:
        arguments[-1].mkdir()  # where a fold's checkpoints lie
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate.label_audit.audit, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        audit_labels(settings_of(workspace[0], out=str(tmp_path)))
    assert [path.name for path in tmp_path.rglob("*")] == ["label_audit", "label_audit.csv"]


def test_the_folds_of_an_averaged_run_are_single_trainings(
    workspace: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The runs that were averaged have seen every fold; what the three took together is no estimate of one."""
    folder, _ = workspace
    averaged = shutil.copytree((folder / "runs" / "tiny" / "latest").resolve(), tmp_path / "averaged")
    record = read_json(averaged / "run.json")
    record["settings"]["average"] = ["one", "two", "three"]
    record["figures"] |= {"training_seconds": 3 * 3600.0, "total_seconds": 3 * 3660.0}
    write_json(averaged / "run.json", record)
    recipes: list[TrainSettings] = []

    def stop(recipe: TrainSettings, *arguments: Any) -> None:
        recipes.append(recipe)
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate.label_audit.audit, "fit", stop)
    with pytest.raises(KeyboardInterrupt):
        audit_labels(settings_of(folder, run=str(averaged), out=str(tmp_path)))
    assert [recipe.average for recipe in recipes] == [[]]
    assert "Training the run took 61 min; expect 62 min" in capsys.readouterr().out


def cells_of(*rows: tuple[str, str, int, float], text: str = "post") -> pd.DataFrame:
    """Judged labels from (language, head, label, probability); the id is the row's number."""
    frame = pd.DataFrame(rows, columns=["language", "head", "label", "probability"])
    return frame.assign(id=[str(number) for number in range(len(frame))], source="posts", split="test", family="f", text=text)


# Both kinds of label are mean 0.9 sure of themselves but for the two wrong ones, so each threshold lies below 0.9 and a
# label of one kind that is at least that sure of the other is a contradiction.
BALANCED = [("en", "propaganda", label, label * 0.8 + 0.1) for label in (0, 1) for _ in range(10)]


def test_ranks_count_the_contradicted_labels_of_a_language() -> None:
    cells = find_contradictions(
        cells_of(*BALANCED, ("en", "propaganda", 1, 0.02), ("en", "propaganda", 0, 0.99), ("ur", "propaganda", 0, 0.97))
    )
    listed = cells[cells["contradicted"]]
    assert listed[["language", "rank", "id"]].to_numpy().tolist() == [["en", 1, "21"], ["en", 2, "20"], ["ur", 1, "22"]]
    np.testing.assert_allclose(listed["quality"], [0.01, 0.02, 0.03])
    assert cells.loc[~cells["contradicted"], "rank"].isna().all()


def test_counts_are_per_language_and_head() -> None:
    cells = find_contradictions(cells_of(*BALANCED, ("en", "propaganda", 1, 0.02), ("ur", "propaganda", 0, 0.97)))
    columns = ["language", "head", "judged", "contradicted", "labelled_1", "labelled_0", "share"]
    counts = count_contradictions(cells)
    assert counts[columns].to_numpy().tolist() == [["en", "propaganda", 21, 1, 1, 0, 1 / 21], ["ur", "propaganda", 1, 1, 0, 1, 1.0]]
    assert [line.split() for line in console_table(cells).splitlines()[1:]] == [
        ["English", "propaganda", "21", "1", "4.8%"],
        ["Urdu", "propaganda", "1", "1", "100.0%"],
    ]


@pytest.mark.parametrize("label", [0, 1])
def test_a_head_with_one_kind_of_label_is_named_and_not_audited(label: int) -> None:
    cells = find_contradictions(cells_of(*BALANCED, *[("en", "violence_glorification", label, 0.5 - 0.4 * (2 * label - 1))] * 3))
    assert not cells["contradicted"].any()
    assert cells.loc[cells["head"] == "violence_glorification", "quality"].tolist() == pytest.approx([0.1] * 3)
    page = render_markdown(Audit("r", "m", "macro_f1", [Judge("the run", 1, 23, 0.5)], cells), show_text=False)
    assert "`violence_glorification` has labels of one kind only" in page
    assert "`propaganda` has labels of one kind only" not in page


@given(st.lists(st.integers(0, 12), min_size=3, max_size=60).filter(lambda names: len(set(names)) >= 3), st.integers(2, 3))
def test_folds_keep_families_whole_and_hold_every_row_once(names: list[int], folds: int) -> None:
    families = np.asarray([f"family {name}" for name in names])
    inside = family_folds(families.tolist(), folds)
    assert sorted(np.concatenate(inside).tolist()) == list(range(len(names)))
    assert all(len(rows) for rows in inside)
    of_folds = [set(families[rows]) for rows in inside]
    assert sum(map(len, of_folds)) == len(set(names))


def test_the_expected_time_follows_the_rows_an_epoch_draws(audited: Audited) -> None:
    run = load_run(audited.workspace / "runs" / "tiny" / "latest")
    recipe: TrainSettings = to_settings(run.record["settings"], TrainSettings)
    heads = run.model.config.heads
    table = select_split(load_examples(audited.workspace / "data" / "mine"), "train", heads)
    figures = {"training_seconds": 100.0, "total_seconds": 110.0}
    halves = family_folds(list(table["family"]), 2)
    assert [len(rows) for rows in halves] == [len(table) / 2] * 2
    assert expected_seconds(figures, recipe, table, halves) == pytest.approx(2 * (10 + 50))

    recipe.trainer.sampling.max_negatives_per_source = 5  # capped: half of the positives, and as many negatives as ever
    positives = int((label_matrix(table, heads) == 1).any(axis=1).sum())
    assert expected_seconds(figures, recipe, table, halves) == pytest.approx(2 * 10 + 100 * (positives + 10) / (positives + 5))

    recipe.trainer.max_steps = 7  # as many steps on fewer rows
    assert expected_seconds(figures, recipe, table, halves) == 2 * 110


@given(st.text())
def test_no_cell_of_a_spreadsheet_is_a_formula(text: str) -> None:
    safe = spreadsheet_text(text)
    assert safe in (text, "'" + text)
    assert safe[:1] not in {"\t", "\r", "\n"}
    assert safe.lstrip()[:1] not in {*"=+-@", "\uff1d", "\uff0b", "\uff0d", "\uff20"}


@settings(max_examples=40)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=5))
def test_the_list_survives_any_text(texts: list[str]) -> None:
    wrong = cells_of(*BALANCED, *[("en", "propaganda", 1, 0.01)] * len(texts), text="")
    cells = find_contradictions(wrong.assign(text=[""] * len(BALANCED) + texts))
    cells["contradicted"] = cells["id"].astype(int) >= len(BALANCED)
    cells["rank"] = 1
    read = {row["id"]: row["text"] for row in read_csv(render_csv(cells, show_text=True))}
    assert read == {str(len(BALANCED) + number): spreadsheet_text(text) for number, text in enumerate(texts)}


def test_hostile_text_stays_in_its_cell() -> None:
    hostile = "<img src=x> | [a](b)\n# title \u202e =HYPERLINK(1)"
    cells = find_contradictions(cells_of(*BALANCED, ("en", "propaganda", 1, 0.02), text=hostile))
    page = render_markdown(Audit("r", "m", "macro_f1", [Judge("the run", 1, 21, 0.5)], cells), show_text=True)
    elsewhere = render_markdown(Audit("r", "m", "macro_f1", [], cells.assign(language=hostile, source=hostile)), show_text=True)
    assert "<img" not in elsewhere
    rows = [line for line in elsewhere.splitlines() if line.startswith(r"| &lt;img src=x&gt; \| \[a\]")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in rows] == [8, 9], "one row of counts, one of the list"
    assert "\u202e" not in console_table(cells.assign(language=hostile))
    last = page.splitlines()[-1]
    assert last.endswith(r"| &lt;img src=x&gt; \| \[a\]\(b\) \# title =HYPERLINK\(1\) |")
    assert "\u202e" not in page
    assert render_csv(cells, show_text=True).count("\n") == 3, "one line break is the text's own, and quoted"


def test_the_config_composes(compose_stage: Callable[..., Any]) -> None:
    register_schemas()
    made: LabelAuditSettings = to_settings(compose_stage("label_audit", "run=runs/x/latest"), LabelAuditSettings)
    assert (made.out, made.folds, made.show_text) == ("runs/x/latest", 3, False)


def read_csv(content: str) -> list[dict[str, str]]:
    assert content.startswith("\ufeff"), "or a spreadsheet misreads other scripts"
    return list(csv.DictReader(io.StringIO(content.removeprefix("\ufeff"), newline="")))
