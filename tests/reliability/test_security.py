"""What an adversary who writes files, checkpoints or settings must not achieve: SECURITY.md names each of these tests."""

import ast
import json
import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data_prep.command import UserError
from data_prep.files import publish_folder, write_text
from data_prep.secrets import MASK, mask, masked
from tests.conftest import ROOT, prepare_rows, tiny_rows
from tests.reliability.harness import own_mixture, run_here
from train.encoding import encode
from train.run import begin_run, load_run
from train.settings import TrainSettings

PACKAGES = ("data_prep", "train", "export", "evaluate")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# what executes what it reads, by the name it is called by; `train/stage.py` catches pickle's error and loads nothing
FORBIDDEN_IMPORTS = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "torch.load", "torch.hub.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
FORBIDDEN_CALLS |= {"pd.read_pickle", "os.system", "os.popen"}
ALLOWED = {("train/stage.py", "pickle"), ("evaluate/__init__.py", "exec")}


def dotted(node: ast.expr | None) -> str:
    """`a.b.c` as written; "" for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed([*parts, node.id])) if isinstance(node, ast.Name) else ""


def findings(path: Path) -> list[str]:
    """What in a module could run what it reads."""
    name, found = path.relative_to(ROOT).as_posix(), []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [module for module in modules if module.split(".")[0] in FORBIDDEN_IMPORTS]
        if isinstance(node, ast.Call):
            called, options = dotted(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
            if called in FORBIDDEN_CALLS and dotted(options.get("Loader")) not in ("yaml.SafeLoader", "yaml.CSafeLoader"):
                found.append(called)
            if "trust_remote_code" in options or isinstance(options.get("shell"), ast.Constant):
                found.append(f"{called} with trust_remote_code or shell")
            if called in ("np.load", "numpy.load") and getattr(options.get("allow_pickle"), "value", False) is not False:
                found.append("np.load of pickles")
            if called.endswith(".from_pretrained") and "Config" not in called and not _is_true(options.get("use_safetensors")):
                found.append(f"{called} without use_safetensors=True")
    return [one for one in found if (name, one) not in ALLOWED]


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_runs_what_it_reads(path: Path) -> None:
    assert findings(path) == []


def test_the_search_would_find_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "bad.py").write_text(
        "import pickle, joblib\nimport yaml, torch\nyaml.load(x)\ntorch.load(x)\nnp.load(x, allow_pickle=True)\neval(x)\n"
        "Model.from_pretrained(x)\nload_dataset(x, trust_remote_code=True)\nrun(x, shell=True)\n",
        encoding="utf-8",
    )
    assert len(findings(tmp_path / "bad.py")) == 9


class Payload:
    """What unpickling would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "this ran")


def test_the_payload_runs_where_pickle_is_used(tmp_path: Path) -> None:
    """Or the tests below would pass for nothing."""
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "adapter_model.bin"])
def test_a_pickle_among_a_runs_weights_is_refused_unread(name: str, tiny_workspace: Path, tmp_path: Path) -> None:
    """Here its author has taken the hashes out of the record as well."""
    run = Path(shutil.copytree((tiny_workspace / "runs" / "tiny" / "latest").resolve(), tmp_path / "run"))
    (run / "model" / "model.safetensors").unlink()
    (run / "model" / name).write_bytes(pickle.dumps(Payload(tmp_path / "ran"), protocol=2))
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps({key: value for key, value in record.items() if key != "sha256"}), encoding="utf-8")
    with pytest.raises(UserError, match="is damaged"):
        load_run(run)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_in_a_cache_is_not_opened(tiny_workspace: Path, tmp_path: Path) -> None:
    tokenizer = load_run(tiny_workspace / "runs" / "tiny" / "latest").tokenizer
    wanted = encode(["rain in Ruvel"], tokenizer, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob("*.npy")
    np.save(kept, np.array([Payload(tmp_path / "ran")], dtype=object), allow_pickle=True)
    assert encode(["rain in Ruvel"], tokenizer, tmp_path / "cache")[0].tolist() == wanted[0].tolist()
    assert not (tmp_path / "ran").exists()


def test_a_config_that_names_code_runs_none(tiny_workspace: Path, tmp_path: Path) -> None:
    """`auto_map` is how a checkpoint asks for its own code to be run; a module beside it stays unread."""
    run = Path(shutil.copytree((tiny_workspace / "runs" / "tiny" / "latest").resolve(), tmp_path / "run"))
    config = json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}
    (run / "model" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (run / "model" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    del record["sha256"]
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    load_run(run)
    assert not (tmp_path / "ran").exists()


# ---- secrets


SECRETS = {
    "salt": "dalmire-salt",
    "hub_token": "hf_abcdefghijklmnopqrstuvwxyz",
    "wandb_api_key": "0123456789abcdef0123",
    "tracking_uri": "https://ada:pa55word@tracker.example.org/?access_token=t0ken",
    "nested": [{"password": "pa55word2"}],
}


def test_secrets_are_masked_and_the_rest_is_not() -> None:
    text = json.dumps(masked({**SECRETS, "tokens_per_batch": 2048, "tokenizer": "t.json", "salt_free": None}))
    for secret in ("dalmire-salt", "abcdefgh", "0123456789", "pa55word", "t0ken"):
        assert secret not in text
    assert '"tokens_per_batch": 2048' in text
    assert '"tokenizer": "t.json"' in text
    assert "tracker.example.org" in text


@given(st.text(), st.text(st.characters(categories=["L", "N"]), min_size=8, max_size=30))
@example("see https://example.org/a@b", "abcdefgh")
def test_masking_hides_passwords_and_is_done_once(text: str, secret: str) -> None:
    once = mask(f"{text} https://ada:{secret}@example.org/")
    assert f":{secret}@" not in once
    assert mask(once) == once


def test_masking_leaves_ordinary_text_alone() -> None:
    for text in ("no file matches data/raw/posts.csv", "write to a@example.org", "https://example.org/a?page=2", "tokens_per_batch=0"):
        assert mask(text) == text


def test_a_salt_is_in_nothing_that_is_printed_or_written(tmp_path: Path) -> None:
    rows = "".join(
        json.dumps({"text": f"rain {index} in Ruvel", "propaganda": "1", "violence_glorification": "0"}) + "\n" for index in range(9)
    )
    command = own_mixture(tmp_path, {"posts.jsonl": rows.encode()})
    outcome = run_here("data_prep", *command, "salt=dalmire-salt", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    mistaken = run_here("data_prep", *command, "salt=[dalmire-salt", cwd=tmp_path)
    assert mistaken.code == 2
    written = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    for content in (*written, *(one.encode() for one in (outcome.out, outcome.err, mistaken.out, mistaken.err))):
        assert b"dalmire-salt" not in content


def test_a_runs_record_masks_what_its_settings_hold(tmp_path: Path) -> None:
    settings = TrainSettings(name="tiny")
    settings.encoder.path = "https://ada:pa55word@hub.example.org/model"
    folder = begin_run(tmp_path / "runs" / "tiny" / "now", settings, {"table_sha256": {}})
    text = (folder / "begun.json").read_text(encoding="utf-8")
    assert "pa55word" not in text
    assert f"https://{MASK}@hub.example.org/model" in text


def test_no_module_writes_down_the_environment() -> None:
    """Trackers take their keys from it, so what is never read whole cannot leak."""
    for path in SOURCES:
        assert not re.search(r"(dict|asdict|str|repr|json\.dumps)\(os\.environ\)|print\(os\.environ", path.read_text(encoding="utf-8")), (
            path
        )


# ---- files


@pytest.mark.parametrize("umask", [0o022, 0o077], ids=["022", "077"])
def test_permissions_are_as_the_umask_says(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        folder = prepare_rows(tmp_path, tiny_rows(40))
        write_text(tmp_path / "page.html", "a")
        with publish_folder(tmp_path / "release") as partial:
            write_text(partial / "model", "a")
            (partial / "weights").touch(mode=0o600)  # as safetensors and onnx write large ones
    finally:
        os.umask(before)
    for path in (folder, *folder.rglob("*"), tmp_path / "page.html", *(tmp_path / "release").rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & umask, path
        assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444 & ~umask, path
        assert not path.stat().st_mode & stat.S_IWOTH, path


def test_who_may_read_a_release_may_read_all_of_it_and_nobody_else_may_write(tiny_workspace: Path) -> None:
    for root in ("releases", "runs"):
        readers = (tiny_workspace / root).stat().st_mode & 0o444
        for path in (tiny_workspace / root).rglob("*"):
            assert path.stat().st_mode & 0o444 == readers, path
            assert not path.lstat().st_mode & stat.S_IWOTH or path.is_symlink(), path


def test_links_that_lead_out_of_a_release_are_noticed(tiny_workspace: Path, tmp_path: Path) -> None:
    artifact = Path(shutil.copytree(tiny_workspace / "releases" / "tiny" / "artifact", tmp_path / "artifact"))
    (tmp_path / "secret").write_text("s", encoding="utf-8")
    (artifact / "extra").symlink_to(tmp_path / "secret")
    done = subprocess.run([sys.executable, "-I", "-B", str(artifact / "verify.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "extra is not listed" in done.stderr


def test_security_md_names_these_tests() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for name in re.findall(r"`(test_\w+)`", page):
        assert any(re.search(rf"def {name}\(", path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("test_*.py")), name
    assert "tests/reliability/test_security.py" in page
