"""What a prepared mixture promises beyond one source: caching, held-out sets, parallel texts, salted ids, known traps."""

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc
import pytest

from data_prep import leakage
from data_prep.command import UserError, user_errors
from data_prep.engine import Sequential
from data_prep.files import read_json
from data_prep.pipeline import prepare
from data_prep.settings import DataPrepSettings, EngineSettings, JoinSettings, MixtureSettings, SourceSettings, ValueSettings
from data_prep.table import load_examples
from tests.conftest import HEADS, jsonl_source, run_stage_process, write_jsonl

VOCABULARY = "market rain apples museum maps harbour lantern bread winter garden bridge letter window orchard river stone"


def posts(count: int, seed: int = 0, **changes: Any) -> list[dict[str, Any]]:
    """Posts of a dozen random words, none like another."""
    generator = random.Random(seed)
    return [
        {
            "text": " ".join(generator.choices(VOCABULARY.split(), k=14)),
            "lang": "en",
            "propaganda": index % 2,
            "violence_glorification": 0,
            **changes,
        }
        for index in range(count)
    ]


def settings_of(folder: Path, mixture: MixtureSettings, **changes: Any) -> DataPrepSettings:
    return DataPrepSettings(mixture, HEADS, str(folder / "raw"), str(folder / "data"), EngineSettings(workers=1), **changes)


def prepared(folder: Path, *sources: SourceSettings, held_out: tuple[SourceSettings, ...] = (), **changes: Any) -> Path:
    mixture = MixtureSettings(
        name="mine", sources={source.name: source for source in sources}, held_out={source.name: source for source in held_out}
    )
    return prepare(settings_of(folder, mixture, **changes))


def account(folder: Path, source: str) -> dict[str, Any]:
    return read_json(folder / "manifest.json")["sources"][source]  # type: ignore[no-any-return]


def test_training_twins_of_a_held_out_set_leave_and_it_is_not_in_the_table(tmp_path: Path) -> None:
    rows = posts(60, split="train")
    write_jsonl(tmp_path / "raw" / "posts.jsonl", rows)
    write_jsonl(tmp_path / "raw" / "suite.jsonl", [{**rows[7], "split": None}, {**rows[8], "text": rows[8]["text"] + "!"}])
    folder = prepared(tmp_path, jsonl_source(), held_out=(jsonl_source("suite"),))
    table = load_examples(folder)
    assert set(table["source"]) == {"posts"}
    assert account(folder, "posts")["leaking"] == 2
    assert read_json(folder / "manifest.json")["leakage"]["removed"] == [
        {"source": "posts", "split": "train", "against": "suite", "rows": 2, "like": 2}
    ]
    assert "| posts | train | 2 | suite | 2 |" in (folder / "leakage.md").read_text()


def test_the_audit_sees_what_the_splits_missed(tmp_path: Path) -> None:
    texts = [row["text"] for row in posts(20)]
    rows = pd.DataFrame({"normalised": texts, "split": "train", "source": "posts", "family": texts})
    clean = leakage.audit(rows, MixtureSettings(name="m"), Sequential())
    assert clean["passes"]
    rows.loc[1, ["normalised", "split"]] = [texts[0] + "!", "test"]
    near = leakage.audit(rows, MixtureSettings(name="m"), Sequential())
    assert (near["near"], near["identical"], near["test_rows"], near["passes"]) == (1, 0, 1, False)
    rows.loc[1, "normalised"] = texts[0]
    assert leakage.audit(rows, MixtureSettings(name="m", max_leaking=1.0), Sequential())["identical"] == 1
    rows.loc[1, ["normalised", "family"]] = ["something else entirely", texts[0]]
    family = leakage.audit(rows, MixtureSettings(name="m", max_leaking=1.0), Sequential())
    assert (family["families_across_splits"], family["passes"]) == (1, False)


def test_a_failed_gate_has_an_exit_code_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing that leaks is taken out, the audit sees it and nothing is published."""
    rows = posts(60, split="train")
    write_jsonl(tmp_path / "raw" / "posts.jsonl", [*rows, {**rows[7], "text": rows[7]["text"] + "!", "split": "test"}])
    monkeypatch.setattr(
        "data_prep.pipeline.drop_leaking",
        lambda rows: (rows.assign(split=rows["split"].where(rows["official"] == 0, "train")), rows[:0].assign(against="")),
    )
    with pytest.raises(SystemExit) as ended, user_errors():
        prepared(tmp_path, jsonl_source())
    assert ended.value.code == 1
    assert not (tmp_path / "data" / "mine").exists()


def test_a_published_table_can_be_audited_again_and_the_gate_exits_with_1(tmp_path: Path) -> None:
    first = run_stage_process("data_prep", f"data_dir={tmp_path}/data", "engine.workers=1")
    assert first.returncode == 0, first.stderr
    audited = run_stage_process("data_prep.leakage", f"data_dir={tmp_path}/data", "engine.workers=1")
    assert audited.returncode == 0, audited.stderr
    assert "**Passes.**" in audited.stdout
    sample = "+source@mixture.held_out.sample=sample"  # held out from itself, everything leaks
    leaking = run_stage_process("data_prep.leakage", f"data_dir={tmp_path}/data", "engine.workers=1", sample)
    assert leaking.returncode == 1, leaking.stderr
    assert "**FAILS.**" in leaking.stdout


def test_a_second_run_changes_nothing_and_a_changed_source_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("posts", "more"):
        write_jsonl(tmp_path / "raw" / f"{name}.jsonl", posts(30, seed=len(name)))
    folder = prepared(tmp_path, jsonl_source(), jsonl_source("more"))
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    cached = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data" / ".cache").iterdir()}
    capsys.readouterr()
    prepared(tmp_path, jsonl_source(), jsonl_source("more"))
    assert "is up to date" in capsys.readouterr().out
    assert (folder / "manifest.json").stat().st_mtime_ns == stamp
    write_jsonl(tmp_path / "raw" / "more.jsonl", posts(31, seed=4))
    prepared(tmp_path, jsonl_source(), jsonl_source("more"))
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data" / ".cache").iterdir()}
    assert {name[:5]: now.get(name) == time for name, time in cached.items()} == {"posts": True, "more-": False}
    assert account(folder, "more")["rows_in"] == 31


def test_a_damaged_table_is_made_again(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "raw" / "posts.jsonl", posts(30))
    folder = prepared(tmp_path, jsonl_source())
    arrow = next((folder / "table").glob("*.arrow"))
    good = arrow.read_bytes()
    arrow.write_bytes(good[:-100])
    prepared(tmp_path, jsonl_source())
    assert next((folder / "table").glob("*.arrow")).read_bytes() == good


def test_rows_stay_in_their_split_when_rows_are_added(tmp_path: Path) -> None:
    rows = posts(300)
    write_jsonl(tmp_path / "raw" / "posts.jsonl", rows[:200])
    table = load_examples(prepared(tmp_path, jsonl_source()))
    before = dict(zip(table["text"], table["split"], strict=True))
    write_jsonl(tmp_path / "raw" / "posts.jsonl", rows)
    table = load_examples(prepared(tmp_path, jsonl_source()))
    after = dict(zip(table["text"], table["split"], strict=True))
    assert {text: after[text] for text in before} == before
    assert len(after) == 300


def test_a_post_and_its_translation_are_one_family(tmp_path: Path) -> None:
    rows = [{**row, "english": f"{row['text']} said the harbour master {index}"} for index, row in enumerate(posts(40, lang="ur-Latn"))]
    write_jsonl(tmp_path / "raw" / "posts.jsonl", rows)
    folder = prepared(tmp_path, jsonl_source(parallel={"english": "en"}))
    table = load_examples(folder).to_pandas()
    assert account(folder, "posts")["rows_in"] == 80
    assert table["language"].value_counts().to_dict() == {"ur-Latn": 40, "en": 40}
    assert table.groupby("family")["split"].nunique().max() == 1
    assert table.groupby("family").size().eq(2).all()


def test_salted_ids_and_families_cannot_be_recomputed(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "raw" / "posts.jsonl", [{**row, "group": f"user {index // 2}"} for index, row in enumerate(posts(20))])
    plain = load_examples(prepared(tmp_path, jsonl_source())).to_pandas()
    salted = load_examples(prepared(tmp_path, jsonl_source(), salt="pepper")).to_pandas()
    assert plain["text"].tolist() == salted["text"].tolist()
    for column in ("id", "family"):
        assert not set(plain[column]) & set(salted[column])
    assert salted.groupby("family").size().eq(2).all()


def test_dates_are_kept_and_unparsable_ones_are_counted(tmp_path: Path) -> None:
    rows = [{**row, "when": when} for row, when in zip(posts(3), ("2024-02-29T10:00:00", "yesterday", None), strict=True)]
    write_jsonl(tmp_path / "raw" / "posts.jsonl", rows)
    folder = prepared(tmp_path, jsonl_source(attributes={"date": ValueSettings(column="when")}))
    dates = pc.struct_field(load_examples(folder).data.table["attributes"].combine_chunks(), "date")
    assert [str(date) for date in dates.to_pylist()] == ["2024-02-29", "None", "None"]
    assert account(folder, "posts")["unparsable_dates"] == 1, "no date is not a wrong one"


def test_votes_become_an_agreement_figure(tmp_path: Path) -> None:
    votes = [(1, 1), (0, 0), (1, 1), (0, 1)]
    write_jsonl(tmp_path / "raw" / "posts.jsonl", [{**row, "a": a, "b": b} for row, (a, b) in zip(posts(4), votes, strict=True)])
    agreement = account(prepared(tmp_path, jsonl_source(votes={"propaganda": ["a", "b"]})), "posts")["agreement"]["propaganda"]
    assert agreement["alpha"] == pytest.approx(1 - 7 * 2 / (2 * 3 * 5))  # 1 - (n - 1) * disagreements / (n0 * n1), Krippendorff 2011
    assert (agreement["raters"], agreement["rows"]) == (2, 4)


@pytest.mark.parametrize(
    ("partners", "message"),
    [
        ([{"key": "1", "part": "train"}, {"key": "1", "part": "test"}], "1 values of 'key' in .* have rows that disagree about part"),
        ([{"key": "1"}], "has no column 'part'"),
    ],
)
def test_a_join_on_repeated_or_missing_columns_is_refused(tmp_path: Path, partners: list[dict[str, Any]], message: str) -> None:
    write_jsonl(tmp_path / "raw" / "posts.jsonl", [{**row, "key": "1"} for row in posts(2)])
    (tmp_path / "raw" / "parts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in partners))
    with pytest.raises(UserError, match=message):
        prepared(tmp_path, jsonl_source(join=[JoinSettings(files="parts.jsonl", by="key", add=["part"])]))


def test_partners_that_agree_may_repeat(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "raw" / "posts.jsonl", [{**row, "key": "1"} for row in posts(2)])
    (tmp_path / "raw" / "parts.jsonl").write_text(2 * '{"key": "1", "part": "test"}\n')
    source = jsonl_source(join=[JoinSettings(files="parts.jsonl", by="key", add=["part"])], split=ValueSettings(column="part"))
    assert set(load_examples(prepared(tmp_path, source))["split"]) == {"test"}


def test_known_traps_are_found_and_shown(tmp_path: Path) -> None:
    """What real sets hide: repeated rows, test rows nearly identical to training rows, parallel sentences, contradictions."""
    train, test = posts(200, seed=1, split="train"), posts(50, seed=2, split="test")
    repeated = [dict(row) for row in train[:14]]
    leaking = [{**row, "text": row["text"].capitalize() + " !", "split": "train"} for row in test[:3]]
    contradicting = [{**row, "text": row["text"] + "…", "propaganda": 1 - row["propaganda"]} for row in train[100:104]]
    parallel = [{**row, "lang": language, "text": f"{language} {index} {row['text'][::-1]}", "group": index, "split": None} for language in
                ("ur", "ps", "en") for index, row in enumerate(posts(30, seed=3))]  # fmt: skip
    write_jsonl(tmp_path / "raw" / "posts.jsonl", [*train, *repeated, *test, *leaking, *contradicting, *parallel])
    folder = prepared(tmp_path, jsonl_source())
    counted = account(folder, "posts")
    assert (counted["duplicates"], counted["leaking"]) == (14, 3)
    assert counted["conflicts"] == 8
    table = load_examples(folder).to_pandas()
    sentences = table[table["text"].str.match("(ur|ps|en) [0-9]+ ")]
    assert sentences.groupby("family").size().eq(3).all()
    datasheet = (folder / "datasheet.md").read_text(encoding="utf-8")
    assert all(word not in datasheet for word in ("orchard", "lantern"))
    assert "14" in datasheet


def test_a_label_that_no_training_row_has_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All its rows are relatives of an official test row."""
    rows = [{**row, "propaganda": 0} for row in posts(40)]
    for row, split in zip(rows[:3], ("test", None, None), strict=True):
        row.update(propaganda=1, group="thread", split=split)
    write_jsonl(tmp_path / "raw" / "posts.jsonl", rows)
    prepared(tmp_path, jsonl_source())
    assert "warning: nothing can be learnt of posts en propaganda = 1: their families" in capsys.readouterr().out
