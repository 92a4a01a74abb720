"""The whole road through the real command lines, and what each stage says to a user who mistypes."""

import json
from pathlib import Path

import pytest

from tests.conftest import run_stage_process, start_stage_process, tiny_rows, write_jsonl

TINY = ("encoder=tiny", "trainer.max_steps=12", "trainer.sampling.tokens_per_batch=1024")


def test_the_four_stages_chain(tmp_path: Path) -> None:
    """From a folder that is not the checkout, where all results go. `train` prepares the embedded sample by itself; every
    stage ends with where the result is and what comes next, and shows no progress bars in a log."""
    trained = start_stage_process("train", "experiment=quickstart", *TINY, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "next: python -m export run=" in trained.stdout
    assert (tmp_path / "data" / "sample" / "datasheet.md").is_file()

    exported = start_stage_process("export", "run=runs/quickstart/latest", "release=demo", "variants=[fp16]", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert "0 decisions flip" in exported.stdout
    assert "next: python -m evaluate release=demo" in exported.stdout

    common = ("gate=demo", "gate.tiers.provisional.max_fpr_upper=1.0")
    evaluated = start_stage_process("evaluate", "release=demo", *common, cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stdout + evaluated.stderr
    assert "Balochi" in evaluated.stdout
    policy = json.loads((tmp_path / "releases" / "demo" / "artifact" / "policy.json").read_text(encoding="utf-8"))
    assert policy["tiers"]["propaganda"]["bal"] == "provisional", "the artifact learns what was evaluated"

    checkpoint = start_stage_process("evaluate", "run=runs/quickstart/latest", *common, cwd=tmp_path)
    assert checkpoint.returncode == 0, checkpoint.stderr
    assert (tmp_path / "runs" / "quickstart" / "latest" / "report" / "report.html").is_file()
    for done in (trained, exported, evaluated, checkpoint):
        assert "next: " in done.stdout.splitlines()[-1]
        assert "\r" not in done.stdout + done.stderr
    assert not list(tmp_path.rglob("*partial*"))


def test_data_prep_prints_its_accounts(tmp_path: Path) -> None:
    done = run_stage_process("data_prep", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert (tmp_path / "data" / "sample" / "datasheet.html").is_file()
    assert "next: python -m train experiment=quickstart" in done.stdout
    numbers = [int(word) for word in done.stdout.splitlines()[1].replace("=", " ").replace("+", " ").split()[1:]]
    assert numbers[0] == sum(numbers[1:]) >= 3000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train", "experiment=xlmr_bsae"), "xlmr_bsae"),
        (("train", "trainer.lerning_rate=1"), "lerning_rate"),
        (("train", "trainer.learning_rate=fast"), "learning_rate"),
        (("data_prep", "mixture=research", "data_root=/nowhere"), "no file matches"),
        (("train", "experiment=research_offline", "data_dir=nowhere"), "python -m data_prep mixture=research"),
        (("train", "experiment=xlmr_base", "mixture=sample"), "hf download FacebookAI/xlm-roberta-base"),
        (("export", "run=nowhere", "release=demo"), "no run at nowhere"),
        (("export", "release=demo"), "run"),
        (("evaluate", "release=never"), "python -m export"),
        (("evaluate", "gate=defualt"), "defualt"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    done = run_stage_process(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert says in errors[0]
    assert "Traceback" not in done.stderr
    assert "Error executing" not in done.stderr
    assert not list(tmp_path.glob("runs/*/*")), "no half-written run"
    assert not list(tmp_path.glob("releases/*"))


def test_full_errors_on_request(tmp_path: Path) -> None:
    done = run_stage_process("data_prep", "mixture=research", "data_root=/nowhere", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("rows", "says"),
    [([], "is empty"), ([{"text": "a", "lang": "en", "propaganda": "perhaps"}, *tiny_rows(4)], "unknown value 'perhaps'")],
)
def test_unknown_labels_and_empty_data_are_told(rows: list[dict[str, object]], says: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "raw" / "posts.jsonl", rows)
    source = (
        "name: posts\ntitle: t\norigin: o\nlicence: l\nfiles: posts.jsonl\nreader: {format: jsonl}\ntext: text\nlanguage: {column: lang}\n"
        'labels: {propaganda: {propaganda: {"1": 1, "0": 0, "": null}}}\n'
    )
    (tmp_path / "mine" / "source").mkdir(parents=True)
    (tmp_path / "mine" / "mixture").mkdir()
    (tmp_path / "mine" / "source" / "posts.yaml").write_text(source, encoding="utf-8")
    (tmp_path / "mine" / "mixture" / "mine.yaml").write_text("defaults:\n  - /source@sources.posts: posts\nname: mine\n", encoding="utf-8")
    arguments = ("--config-dir", f"{tmp_path}/mine", "mixture=mine", f"data_root={tmp_path}/raw", f"data_dir={tmp_path}/data")
    done = run_stage_process("data_prep", *arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert [path for path in (tmp_path / "data").glob("*") if not path.name.startswith(".")] == []  # nothing is published
