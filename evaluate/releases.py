"""`releases/index.html`: every evaluated release with its verdict and key figures, and how these went over time."""

from pathlib import Path
from typing import Any

from data_prep.command import UserError
from data_prep.files import read_json, write_text
from evaluate.rendering import axis_end, render_html

# figure, title, is less better
TRENDS = (
    ("worst_fpr", "Highest false-positive rate", True),
    ("widest_fpr_gap", "Largest gap of false positives", True),
    ("most_flips", "Most decision flips on the same content", True),
    ("macro_auprc", "Mean AUPRC over measured languages", False),
)


def evaluated_releases(releases_dir: Path) -> list[dict[str, Any]]:
    """What `metrics.json` of every release says, in the order in which they were first evaluated.

    A report of an earlier version of this program, or a damaged one, is left out: evaluate the release again.
    """
    found = []
    for path in releases_dir.glob("*/report/metrics.json"):
        try:
            document = read_json(path)
        except UserError:
            continue
        if "key_figures" in document:
            found.append({**document, "release": path.parent.parent.name})
    return sorted(found, key=lambda document: (document["first_evaluated"], document["release"]))


def write_index(releases_dir: Path) -> Path:
    """Write `index.html` beside the releases; returns its path."""
    releases = evaluated_releases(releases_dir)
    trends = []
    for figure, title, less_is_better in TRENDS:
        values = [(one["release"], one["key_figures"][figure]) for one in releases]
        trends.append((title, less_is_better, values, axis_end(value for _, value in values)))
    target = releases_dir / "index.html"
    write_text(target, render_html("releases.html.jinja", {"releases": releases, "trends": trends}))
    return target
