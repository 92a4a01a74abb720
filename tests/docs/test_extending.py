"""docs/extending.md works as written: its blocks are put where they say, its commands are run, on a tiny encoder."""

import csv
import random
import re
import shutil
from pathlib import Path

import pytest

from data_prep.files import read_json
from tests.conftest import ROOT, run_command
from train.encoder import load_encoder
from train.settings import EncoderSettings

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)
STANCES = ("celebrates", "reports", "condemns", "joins", "unsure")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The packages and configs as they are shipped, a file of posts in invented words, and a small XLM-R in a folder."""
    for folder in ("data_prep", "train", "export", "evaluate", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    random_ = random.Random(0)
    with (tmp_path / "posts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["post", "thread", "stance"])
        for index in range(300):
            words = ["".join(random_.sample("abdefiklmnorstu", 6)) for _ in range(12)]
            writer.writerow([" ".join(words), index, STANCES[index % len(STANCES)]])
    tiny = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    encoder = load_encoder(EncoderSettings("tiny", "random", max_length=128, trim=False, shape=tiny))
    encoder.model.save_pretrained(tmp_path / "encoders" / "our_xlmr")
    encoder.tokenizer.save(str(tmp_path / "encoders" / "our_xlmr" / "tokenizer.json"))
    return tmp_path


def put(checkout: Path, title: str, block: str) -> None:
    """Save a block as the file its title names, or add it above or below the line that the title quotes."""
    name, place, line = re.fullmatch(r"([^,]+)(?:, (above|below) (.+))?", title).groups()  # type: ignore[union-attr]
    path = checkout / name
    if place is None:
        assert not path.exists(), "the page adds files, and replaces none"
        path.write_text(block, encoding="utf-8")
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    (found,) = [number for number, text in enumerate(lines) if text.startswith(line)]
    lines.insert(found + (place == "below"), block)
    path.write_text("".join(lines), encoding="utf-8")


def test_the_page_runs_as_written(checkout: Path) -> None:
    """Only the training lines get what makes them trials, and only the evaluation may fail its gate."""
    ran = []
    for language, title, block in BLOCKS:
        if title:
            put(checkout, title, block)
            continue
        assert language == "bash"
        for command in block.splitlines():
            trial = " trainer.max_steps=4" if " train " in command else ""
            trial += " encoder=tiny" if trial and "encoder=" not in command else ""
            done = run_command(command + trial, checkout)
            assert done.returncode == (" evaluate " in command), f"{command}\n{done.stdout}{done.stderr}"
            ran.append(command.split()[2])
    assert ran == ["data_prep", "data_prep", "train", "train", "evaluate"]

    assert read_json(checkout / "data" / "harbour" / "manifest.json")["heads"] == ["propaganda", "recruitment", "violence_glorification"]
    run = checkout / "runs" / "harbour" / "latest"
    record = read_json(run / "run.json")
    assert record["settings"]["encoder"]["path"] == "encoders/our_xlmr"
    report = (run / "report" / "report.md").read_text(encoding="utf-8")
    assert "Tajik" in report
    assert "recruitment" in report
    assert "FNR at most 33%" in report
    assert "not enough evidence" in done.stdout
