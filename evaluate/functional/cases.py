"""The suite's cases: templates in every language with every filling, and differently written ones derived from them.

A case is one row: `case_id`, `functionality`, `language`, `script`, `text`, one column per head (1, 0 or missing = not
judged), `ref_case_id` (the other half of a minimal pair, or the case it was derived from), `template_id`, `derived` (the
transformation, empty in the templates' own cases), `hard_negative` and `validated_by` (empty until a native speaker
signs). All groups and places are fictional.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def functional_cases(per_cell: int | None = None) -> pd.DataFrame:
    """The suite's cases, always the same, in the order of `functionalities.yaml`.

    Parameters
    ----------
    per_cell
        At most so many of each functionality and language, over all of its templates in turn; None: all.
    """
    own = _template_cases()
    cells: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for case in own:
        cells[case["language"], case["functionality"]].append(case)
    for cell in cells.values():
        cell.sort(key=lambda case: case["case_id"])
    cases = own + [case for kind in KINDS for cell in cells.values() for case in _derived_cases(cell, kind)]
    return _as_cases(pd.DataFrame(cases if per_cell is None else _in_turn(cases, per_cell)))


def signature(validated_by: object) -> str:
    """Who signed a file; empty where nobody did, also where the key was left without a value.

    >>> signature(None), signature(" "), signature("A. Reader")
    ('', '', 'A. Reader')
    """
    return str(validated_by or "").strip()


def _template_cases() -> list[dict[str, Any]]:
    meanings = yaml.load(FUNCTIONALITIES.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)["classes"]
    validated_by = {}
    for path in FUNCTIONALITIES.parent.glob("*.yaml"):
        if path != FUNCTIONALITIES:
            document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
            validated_by[document["language"]] = signature(document["validated_by"])
    rows = read_templates(FUNCTIONALITIES)
    for row in rows:
        row["functionality"], _, row["number"] = row["concept"].rpartition("_")
        row["filling"] = repr(sorted(row["filling"].items()))
        row["case_id"] = _case_id(row["language"], row["concept"], row["text"])
        row |= {"template_id": row["concept"], "derived": "", "validated_by": validated_by[row["language"]]}
    known = {(row["language"], row["concept"], row["filling"]): row["case_id"] for row in rows}
    for row in rows:
        row["ref_case_id"] = known.get((row["language"], f"{row['contrast'] or ''}_{row['number']}", row["filling"]), "")
    order = {name: place for place, name in enumerate(meanings)}
    return sorted(rows, key=lambda row: (row["language"], order[row["functionality"]], row["case_id"]))


def _derived_cases(cell: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Some cases of a functionality and language, written differently; the transformations take turns."""
    rows: list[dict[str, Any]] = []
    taken: set[str] = set()
    language = cell[0]["language"]
    transformations = KINDS[kind](language, dominant_script(cell[0]["text"]))
    for turn, case in enumerate(cell):
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
                        "case_id": _case_id(language, template, text),
                        "functionality": f"{kind}_{'positive' if positive else 'negative'}",
                        "text": text,
                        "ref_case_id": case["case_id"],
                        "template_id": template,
                        "derived": transformation.__name__,
                    }
                )
                break
    return rows


def _in_turn(cases: Sequence[dict[str, Any]], per_cell: int) -> list[dict[str, Any]]:
    """At most `per_cell` cases of each functionality and language: the first of every template, then the second, and so on."""
    place: Counter[tuple[str, str, str]] = Counter()
    cells: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for case in cases:
        key = (case["functionality"], case["language"])
        cells[key].append((place[*key, case["template_id"]], case["case_id"]))
        place[*key, case["template_id"]] += 1
    # of the many templates of derived cases those whose hash, the last of the identifier, comes first
    kept = {case for cell in cells.values() for _, case in sorted(cell, key=lambda one: (one[0], one[1].rpartition("/")[2]))[:per_cell]}
    return [case for case in cases if case["case_id"] in kept]


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
