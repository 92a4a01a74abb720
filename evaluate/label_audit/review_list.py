"""The audit as people read it: the list for spreadsheets, the page that explains it, the table on the console."""

import csv
import html
import re
from dataclasses import dataclass

import pandas as pd
from pandas.api.types import is_string_dtype

from data_prep.inspect import mask_text
from evaluate.escaping import spreadsheet_text, visible
from evaluate.label_audit.contradictions import count_contradictions
from evaluate.names import language_name

COLUMNS = ["language", "rank", "id", "source", "head", "label", "probability", "quality", "split", "family"]
EXAMPLES_PER_LANGUAGE = 3
LONGEST_EXAMPLE = 400  # characters
BIDI_CONTROLS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Judge:
    """A model of the audit, the rows it was trained on and the rows it judges; no row is in both."""

    name: str
    train_rows: int
    judged_rows: int
    best_metric: float  # on the validation rows: a fold's model that is much weaker than the run contradicts for no reason


@dataclass
class Audit:
    """What the models make of the labels.

    `cells` has one line per (row, head) with a label, with the columns `COLUMNS`, `text` and `contradicted`; the lines are
    ordered by language, in each from the most doubtful label on. `rank` numbers a language's contradicted labels.
    """

    name: str
    mixture: str
    best_metric: str
    judges: list[Judge]
    cells: pd.DataFrame


def console_table(cells: pd.DataFrame) -> str:
    """The counts as they are printed at the end of an audit."""
    lines = [f"{'language':<20}{'head':<24}{'judged':>8}{'contradicted':>14}{'share':>8}"]
    for row in count_contradictions(cells).to_dict("records"):
        lines.append(
            f"{visible(language_name(row['language'])):<20}{row['head']:<24}{row['judged']:>8,}{row['contradicted']:>14,}{row['share']:>8.1%}"
        )
    return "\n".join(lines)


def render_csv(cells: pd.DataFrame, show_text: bool) -> str:
    """The contradicted labels, one line each, as a file that spreadsheets open as it is meant.

    It begins with a byte order mark, without which some spreadsheets misread other scripts, and no cell is a formula.
    """
    listed = cells.loc[cells["contradicted"], [*COLUMNS, "text"] if show_text else COLUMNS]
    safe = listed.assign(**{str(name): listed[name].map(spreadsheet_text) for name in listed if is_string_dtype(listed[name])})
    return "\ufeff" + safe.round(6).to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


def render_markdown(audit: Audit, show_text: bool) -> str:
    """What was judged by which model, the counts, what to do with the list, and its top with texts masked unless asked for."""
    cells = audit.cells
    contradicted = int(cells["contradicted"].sum())
    one_sided = [str(head) for head, labels in cells.groupby("head")["label"] if labels.nunique() < 2]
    lines = [
        f"# Label audit of run {audit.name}",
        "",
        f"{len(cells):,} labels of mixture `{audit.mixture}` were judged by models that had not seen them; {contradicted:,} "
        f"({contradicted / len(cells):.1%}) are contradicted. That is a doubt and no verdict: where writing is rare in the data, or a rule "
        "of labelling is subtle, it is the model that errs. Nothing was deleted or changed.",
        "",
        f"| model | trained on rows | judged rows | validation {audit.best_metric} |",
        "|---|---:|---:|---:|",
        *(f"| {judge.name} | {judge.train_rows:,} | {judge.judged_rows:,} | {judge.best_metric:.3f} |" for judge in audit.judges),
        "",
        "The run judged validation and test rows; its checkpoint and its calibration were chosen on the former. "
        + (
            "Training rows were judged by the folds' models, none of which saw a row of the same family. A fold's model that is much "
            "weaker than the run contradicts more than it should."
            if len(audit.judges) > 1
            else "Training rows were not audited (`folds=0`)."
        ),
        *(f"\n`{head}` has labels of one kind only and could not be audited." for head in one_sided),
        "",
        "## Per language and head",
        "",
        "| language | head | judged | contradicted | labelled 1 | labelled 0 | share |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in count_contradictions(cells).to_dict("records"):
        lines.append(
            f"| {_table_cell(language_name(row['language']))} | {row['head']} | {row['judged']:,} | {row['contradicted']:,} | "
            f"{row['labelled_1']:,} | {row['labelled_0']:,} | {row['share']:.1%} |"
        )
    lines += [
        "",
        "## What to do with the list",
        "",
        "1. Give the lines of a language to at least two of its native readers, from rank 1 on. Hide the columns `label`, "
        "`probability` and `quality` from them, and mix in unlisted rows: who sees an answer tends to agree with it.",
        "2. Correct a label where the readers agree that it is wrong, in the source's own file. Where one kind of error keeps coming "
        "back, the source's label map in `configs/source/` may misread what its label means.",
        "3. For validation and test rows have as many unlisted rows, drawn at random, reviewed as well. Corrections only where the "
        "model disagrees make its figures better than it is.",
        f"4. Prepare and train again: `python -m data_prep mixture={audit.mixture}`, then `python -m train`.",
        "",
        "Never delete the listed rows unread: what the model finds hard is also what it most needs to learn from.",
        "",
        "## The most doubtful labels",
        "",
        "Texts as they are." if show_text else "Texts are masked; `show_text=true` shows them.",
        "",
        "| language | rank | head | label | probability | source | id | text |",
        "|---|---:|---|---:|---:|---|---|---|",
    ]
    for row in cells[cells["contradicted"] & (cells["rank"] <= EXAMPLES_PER_LANGUAGE)].to_dict("records"):
        text = row["text"][:LONGEST_EXAMPLE]
        lines.append(
            f"| {_table_cell(language_name(row['language']))} | {row['rank']} | {row['head']} | {row['label']} | "
            f"{row['probability']:.3f} | {_table_cell(row['source'])} | {row['id']} | "
            f"{_table_cell(text if show_text else mask_text(text))} |"
        )
    return "\n".join(lines) + "\n"


def _table_cell(text: str) -> str:
    """Text that stays text, and in its place, in a Markdown table."""
    one_line = " ".join(BIDI_CONTROLS.sub("", text).split())
    return re.sub(r"([\\`*_{}\[\]()#|~!])", r"\\\1", html.escape(one_line, quote=False))
