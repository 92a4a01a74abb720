"""The manners of the programs: what --help says, that its examples are real, and when progress bars are shown."""

import io
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from data_prep.command import config_options
from tests.conftest import ROOT, prepare_rows, run_stage_process, tiny_rows

PROGRAMS = {  # primary config: the program, and the config groups it composes
    "data_prep": ("data_prep", ("mixture", "source", "engine", "head@heads")),
    "fetch": ("data_prep.fetch", ("mixture",)),
    "leakage": ("data_prep.leakage", ("mixture", "engine")),
    "train": ("train", ("experiment", "debug", "encoder", "mixture", "trainer", "sampling", "loss", "head@heads")),
    "export": ("export", ()),
    "publish": ("export.publish", ()),
    "evaluate": ("evaluate", ("gate", "probes", "suite@suites.project")),
    "functional": ("evaluate.functional", ("suite",)),
    "label_audit": ("evaluate.label_audit", ()),
}


@pytest.fixture
def help_text(every_schema: None) -> Callable[[str], str]:
    """What `--help` prints of a primary config, without starting a process that imports torch."""
    OmegaConf.register_new_resolver("options", config_options, replace=True)

    def text(config_name: str) -> str:
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            config = compose(config_name, return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        return str(config.hydra.help.template)

    return text


@pytest.mark.parametrize("config_name", PROGRAMS)
def test_help_says_what_it_does_shows_three_examples_and_the_groups(config_name: str, help_text: Callable[[str], str]) -> None:
    program, groups = PROGRAMS[config_name]
    text = help_text(config_name)
    assert text[0].isupper()
    assert text.partition("\n\n")[0].count("\n") == 1, "two lines: what it does, what it reads and writes"
    assert len([line for line in text.splitlines() if line.startswith(f"  python -m {program} ") or line == f"  python -m {program}"]) == 3
    listed = [line for line in text.partition("config groups")[2].splitlines()[1:] if line.startswith("  ") and line[2] != " "]
    assert [line.split()[0] for line in listed] == list(groups)
    defaults = yaml.safe_load((ROOT / "configs" / f"{config_name}.yaml").read_text(encoding="utf-8"))["defaults"]
    assert {group for entry in defaults if isinstance(entry, dict) for group in entry if "hydra/" not in group} <= set(groups)
    for line, group in zip(listed, groups, strict=True):
        for path in (ROOT / "configs" / group.partition("@")[0]).glob("*.yaml"):
            assert path.stem in line
    assert "Exit codes: 0 done; 1 " in text
    assert "$" not in text, "every interpolation is resolved"


@pytest.mark.parametrize("config_name", PROGRAMS)
def test_every_example_of_the_help_composes(config_name: str, help_text: Callable[[str], str]) -> None:
    program, _ = PROGRAMS[config_name]
    known = {"posts": "sample"}  # of a mixture that the reader makes
    for line in help_text(config_name).splitlines():
        if line.startswith(f"  python -m {program}"):
            overrides = [word.replace("<timestamp>", "then") for word in shlex.split(line, comments=True)[3:]]
            overrides = [f"mixture={known[word[8:]]}" if word == "mixture=posts" else word for word in overrides]
            with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
                compose(config_name, overrides)


def test_the_command_line_prints_it_and_survives_a_reader_that_leaves() -> None:
    done = run_stage_process("train", "--help")
    assert done.returncode == 0, done.stderr
    assert "experiment  distilled, domain_adapted, quickstart" in done.stdout
    assert not done.stderr
    reading, writing = os.pipe()
    os.close(reading)
    left = subprocess.run(
        [sys.executable, "-m", "data_prep", "--help"], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (left.returncode, left.stderr) == (141, "")


class Screen(io.StringIO):
    """Standard error as a terminal or a log sees it."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_on_a_terminal_and_quiet_in_a_log(terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal)
    monkeypatch.setattr("sys.stderr", screen)
    prepare_rows(tmp_path, tiny_rows(40))
    assert ("reading posts" in screen.getvalue()) == terminal
    assert terminal or not screen.getvalue()
