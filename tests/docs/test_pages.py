"""The pages do not lie about names: links lead somewhere, files exist, commands compose."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
WRITTEN_BY_THE_READER = {"mixture": {"posts", "harbour"}, "head@heads": {"three"}, "encoder": {"our_xlmr"}, "gate": {"strict"}}
WITHOUT_HYDRA = {"data_prep.inspect", "export.match"}


def anchor(heading: str) -> str:
    """The fragment that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), f"{page.name} links to {target}"
        if fragment:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert fragment in map(anchor, headings), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_pages_name_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    folders = "configs|data_prep|train|export|evaluate|tests|benchmarks|docs"
    theirs = set(re.findall(r"configs/(?:source|mixture|head|encoder|gate)/(?:posts|harbour|three|our_xlmr|strict|forum)\.yaml", text))
    for name in set(re.findall(rf"(?<![\w/.-])(?:{folders})/[\w./-]+\.(?:py|yaml|jinja|sha256|md|png|svg)\b", text)) - theirs:
        assert (ROOT / name).exists() or name == "data_prep/checksums/posts.sha256", f"{page.name} names {name}"
    for name in re.findall(r"python (benchmarks/\S+)", text):
        assert (ROOT / name.rstrip("`,.:;")).exists() or name.startswith("benchmarks/NAME"), f"{page.name} names {name}"


def commands() -> list[tuple[str, str]]:
    """Every stage command of the pages, with the page's name; not those in the text's own lines."""
    found = []
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            if re.match(r"(\t| {4})?python -m (data_prep|train|export|evaluate)\b", line):
                found.append((page.name, line.strip()))
    return found


@pytest.mark.usefixtures("every_schema")
def test_every_command_of_the_pages_composes() -> None:
    seen, said_in = set(), {}
    for page, command in commands():
        _, _, program, *words = shlex.split(re.sub(r"<[\w ]+>", "there", command), comments=True)
        seen.add(program)
        if program in WITHOUT_HYDRA:
            continue
        overrides = []
        for word in words:
            word = re.sub(r"^\[(.+=.+)\]$", r"\1", word)  # [optional=override]
            key, _, value = word.partition("=")
            if word in ("-m", "…") or value in WRITTEN_BY_THE_READER.get(key, ()):
                continue
            overrides.append(f"{key}={value.split(',')[0]}" if "-m" in words else word)
        if program == "train" and not any(override.startswith("mixture=") for override in overrides):
            overrides.append("mixture=sample")  # composing the research sets takes most of the time
        said_in[program.rpartition(".")[2], *sorted(overrides)] = f"{page}: {command}"
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        for (config_name, *overrides), where in said_in.items():
            try:
                compose(config_name, overrides)
            except Exception as error:
                raise AssertionError(where) from error
    assert seen >= {"data_prep", "data_prep.fetch", "data_prep.inspect", "data_prep.leakage", "train", "export", "evaluate"}


def test_hooks_are_local_and_the_citation_can_be_read() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repository["repo"] for repository in hooks["repos"]} == {"local"}, "nothing is fetched"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation.keys() >= {"cff-version", "message", "title", "authors", "version", "license"}
    assert f'version = "{citation["version"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200
