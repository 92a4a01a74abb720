"""The suite's cases: templates in every language with every filling, and differently written ones derived from them.

A case is one row: `case_id`, `functionality`, `language`, `script`, `text`, one column per head (1, 0 or missing = not
judged), `ref_case_id` (the other half of a minimal pair, or the case it was derived from), `template_id`, `derived` (the
transformation, empty in the templates' own cases), `hard_negative` and `validated_by` (empty until a native speaker
signs). All groups and places are fictional.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from data_prep.files import write_text
from data_prep.script import dominant_script
from data_prep.templates import read_templates
from train.edits import obfuscations, script_variations

FUNCTIONALITIES = Path(__file__).parent / "templates" / "functionalities.yaml"
HEADS = ("propaganda", "violence_glorification")
KINDS = {"script_variation": script_variations, "obfuscation": obfuscations}
DERIVED_PER_FUNCTIONALITY = 6  # of each kind and language: 9 positive functionalities and 19 negative ones give cells above 40


def functional_cases() -> pd.DataFrame:
    """All cases of the suite, always the same, in the order of `functionalities.yaml`."""
    cases = _template_cases()
    return pd.concat([cases, *(_derived_cases(cases, kind) for kind in KINDS)], ignore_index=True)


def _template_cases() -> pd.DataFrame:
    meanings = yaml.safe_load(FUNCTIONALITIES.read_text(encoding="utf-8"))["classes"]
    validated_by = {}
    for path in FUNCTIONALITIES.parent.glob("*.yaml"):
        if path != FUNCTIONALITIES:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
            validated_by[document["language"]] = document["validated_by"]
    rows = pd.DataFrame(read_templates(FUNCTIONALITIES))
    rows["functionality"], rows["number"] = rows["concept"].str.rsplit("_", n=1).str[0], rows["concept"].str.rsplit("_", n=1).str[1]
    rows["filling"] = rows["filling"].map(lambda filling: repr(sorted(filling.items())))
    rows["case_id"] = [
        _case_id(language, template, text) for language, template, text in zip(rows["language"], rows["concept"], rows["text"], strict=True)
    ]
    known = rows.set_index(["language", "concept", "filling"])["case_id"].to_dict()
    pairs = zip(rows["language"], rows["contrast"].fillna("") + "_" + rows["number"], rows["filling"], strict=True)
    rows["ref_case_id"] = [known.get(pair, "") for pair in pairs]
    order = {name: place for place, name in enumerate(meanings)}
    rows = rows.sort_values(
        ["language", "functionality", "case_id"], key=lambda column: column.map(order) if column.name == "functionality" else column
    )
    return _as_cases(rows.assign(template_id=rows["concept"], derived="", validated_by=rows["language"].map(validated_by)))


def _derived_cases(cases: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Some cases of every functionality and language, written differently; the transformations take turns."""
    rows = []
    for (language, _), of_cell in cases.groupby(["language", "functionality"], sort=False):
        script = of_cell["script"].iloc[0]
        transformations = KINDS[kind](str(language), str(script))
        taken: set[str] = set()
        for turn, case in enumerate(of_cell.sort_values("case_id").to_dict("records")):
            if len(taken) == DERIVED_PER_FUNCTIONALITY:
                break
            for transformation in (*transformations[turn % len(transformations) :], *transformations[: turn % len(transformations)]):
                text = transformation(case["text"])
                if text not in (case["text"], *taken):
                    taken.add(text)
                    positive = any(case[head] == 1 for head in HEADS)
                    template = f"{case['template_id']}+{transformation.__name__}"
                    rows.append(
                        {
                            **case,
                            "case_id": _case_id(str(language), template, text),
                            "functionality": f"{kind}_{'positive' if positive else 'negative'}",
                            "text": text,
                            "ref_case_id": case["case_id"],
                            "template_id": template,
                            "derived": transformation.__name__,
                        }
                    )
                    break
    return _as_cases(pd.DataFrame(rows))


def _case_id(language: str, template: str, text: str) -> str:
    """Stays the same for the same text, whatever else the suite gains."""
    return f"{language}/{template}/{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _as_cases(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.assign(
        script=rows["text"].map(dominant_script),
        hard_negative=rows["hard_negative"].fillna(""),
        **{head: rows[head].astype("Int8") for head in HEADS},
    )
    names = ["case_id", "functionality", "language", "script", "text", *HEADS]
    return rows[[*names, "ref_case_id", "template_id", "derived", "hard_negative", "validated_by"]]


def label_gold(cases: pd.DataFrame, heads: Sequence[str] = HEADS) -> "pd.Series[str]":
    """`violating` where any head's gold label is 1, otherwise `allowed`."""
    positive = (cases[list(heads)] == 1).fillna(False).any(axis=1)
    return positive.map({True: "violating", False: "allowed"})


def write_cases(path: Path, cases: pd.DataFrame) -> None:
    """Write cases as a CSV file in the columns of HateCheck, and those it lacks; data_prep's csv reader reads it.

    Roettger et al. 2021, "HateCheck: Functional Tests for Hate Speech Detection Models".
    """
    columns = {"text": "test_case", "template_id": "templ_id"}
    table = cases.rename(columns=columns).assign(label_gold=label_gold(cases))
    first = ["functionality", "case_id", "test_case", "label_gold", "ref_case_id", "templ_id"]
    table = table[[*first, *(name for name in table.columns if name not in first)]]
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
