"""The Node.js client of docs/serving.md gives the golden ids and decisions.

It needs `npm install --ignore-scripts onnxruntime-node @huggingface/tokenizers`: in the repository's (git-ignored)
node_modules, or in the folder that the environment variable NODE_MODULES names.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from export.artifact import stamp_tiers
from tests.conftest import ROOT

MODULES = Path(os.environ.get("NODE_MODULES", ROOT / "node_modules"))
NODE = shutil.which("node")

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="Node.js is not installed"),
    pytest.mark.skipif(
        not ((MODULES / "onnxruntime-node").is_dir() and (MODULES / "@huggingface" / "tokenizers").is_dir()),
        reason="npm install --ignore-scripts onnxruntime-node @huggingface/tokenizers, or set NODE_MODULES to where they are",
    ),
]


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_ids_and_decisions_are_the_golden_ones(artifact: Path, variant: str, tmp_path: Path) -> None:
    # half of the cells evaluated, so that decisions other than review are compared
    stamp_tiers(artifact, {"propaganda": dict.fromkeys(("en", "ur", "und"), "supported"), "violence_glorification": {"ru": "provisional"}})
    golden: list[dict[str, Any]] = [
        json.loads(line) for line in (artifact / "golden.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    ]  # fmt: skip
    (script,) = re.findall(r"```js\n(.+?)```", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "client.mjs").write_text(script, encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(MODULES.resolve())
    posts = "".join(json.dumps({"text": line["text"], "language": line["language"]}) + "\n" for line in golden)
    done = subprocess.run(
        [str(NODE), "client.mjs", str(artifact), variant], input=posts, capture_output=True, text=True, cwd=tmp_path, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["ids"] for answer in answers] == [line["ids"] for line in golden]
    said = [{head: answer[head]["decision"] for head in line["outputs"][variant]} for answer, line in zip(answers, golden, strict=True)]
    wanted = [{head: of["decision"] for head, of in line["outputs"][variant].items()} for line in golden]
    assert said == wanted
    assert {decision for line in wanted for decision in line.values()} > {"review"}, "the comparison sees more than one decision"
    for answer, line in zip(answers, golden, strict=True):
        for head, of in line["outputs"][variant].items():
            assert abs(answer[head]["logit"] - of["logit"]) < 0.01


def test_what_is_no_post_is_told_and_the_next_is_answered(artifact: Path, tmp_path: Path) -> None:
    """Also a line separator that JSON leaves as it is, and languages that every JavaScript object knows."""
    stamp_tiers(artifact, {"propaganda": {"en": "supported"}, "violence_glorification": {"en": "supported"}})
    (script,) = re.findall(r"```js\n(.+?)```", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "client.mjs").write_text(script, encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(MODULES.resolve())
    lines = [
        "{",
        '{"text": 7}',
        '{"text": "tea", "language": 7}',
        '{"text": "tea\u2028rain", "language": "constructor"}',
        '{"text": "tea"}',
    ]
    done = subprocess.run(
        [str(NODE), "client.mjs", str(artifact)], input="\n".join(lines), capture_output=True, encoding="utf-8", cwd=tmp_path, check=False
    )
    assert done.returncode == 2, done.stderr
    answers = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
    assert ["error" in answer for answer in answers] == [True, True, True, False, False]
    assert [answer["propaganda"]["decision"] for answer in answers[3:]] == ["review", "review"]
