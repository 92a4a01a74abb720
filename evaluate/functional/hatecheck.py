"""A second suite in HateCheck's CSV format: functionality, case_id, test_case, label_gold, ref_case_id, templ_id, …

HateCheck judges hate, this project two other questions, so a small config says per functionality what it means for each
head; what it leaves out is not judged. Multilingual HateCheck's columns (`mhc_case_id`) are read as well.
"""

from pathlib import Path

import pandas as pd

from data_prep.command import UserError
from data_prep.script import dominant_script
from evaluate.functional.cases import signature
from evaluate.functional.settings import SuiteSettings

REQUIRED = ("functionality", "test_case", "label_gold")
GOLD = {"hateful": 1, "violating": 1, "non-hateful": 0, "allowed": 0}


def read_hatecheck(path: Path, suite: SuiteSettings) -> pd.DataFrame:
    """The file's cases in this suite's columns; a case that no head judges is left out.

    Raises
    ------
    UserError
        If the file or a column is missing, a label is unknown, or a row that its own file calls non-hateful would count as a positive.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: download the suite first, or choose suite=project") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no CSV file in UTF-8 ({error}): give a suite in HateCheck's format") from None
    identifier = "case_id" if "case_id" in table else "mhc_case_id"
    if missing := [name for name in (*REQUIRED, identifier) if name not in table]:
        raise UserError(f"{path} has no column {missing[0]}: a suite in HateCheck's format has {', '.join((*REQUIRED, 'case_id'))}")
    if unknown := sorted(set(table["label_gold"]) - GOLD.keys()):
        raise UserError(f"{path} has the label {unknown[0]!r}: label_gold must be one of {', '.join(GOLD)}")
    cases = pd.DataFrame(
        {
            "case_id": suite.name + "/" + table[identifier],
            "functionality": table["functionality"],
            "language": suite.language,
            "script": table["test_case"].map(dominant_script),
            "text": table["test_case"],
        }
    )
    for head, golds in suite.labels.items():
        cases[head] = table["functionality"].map(golds).astype("Int8")
        contradicted = (cases[head] == 1).fillna(False) & (table["label_gold"].map(GOLD) == 0)
        if contradicted.any():
            raise UserError(
                f"{path} calls case {table[identifier][contradicted].iloc[0]} {table['label_gold'][contradicted].iloc[0]}, but the config "
                f"counts its functionality as 1 for {head}: correct configs/suite"
            )
    other = table["ref_case_id"] if "ref_case_id" in table else pd.Series("", index=table.index)
    cases["ref_case_id"] = (suite.name + "/" + other).where((other != "") & (other != table[identifier]), "")
    cases["template_id"] = table["templ_id"] if "templ_id" in table else table["functionality"]
    cases["derived"] = ""
    cases["hard_negative"] = [suite.hard_negatives.get(name, "") for name in table["functionality"]]
    cases["validated_by"] = signature(suite.validated_by)
    judged = cases[list(suite.labels)].notna().any(axis=1)
    return cases[judged].reset_index(drop=True)
