"""The report's templates as pages and as Markdown, and how they write figures."""

import base64
import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from evaluate.escaping import markdown_text, visible
from evaluate.gate import p_value
from evaluate.metrics import Estimate
from evaluate.names import kind_name, language_name, spoken


def axis_end(ends: Iterable[float | None]) -> float:
    """Where an axis of shares ends: the next ten per cent above every interval.

    >>> axis_end([0.03, None]), axis_end([0.31]), axis_end([0.97])
    (0.1, 0.4, 1.0)
    """
    highest = max((end or 0 for end in ends), default=0)
    return min(1.0, math.ceil(max(highest, 0.01) * 10) / 10)


def percent(value: Estimate | float | None) -> str:
    """A share as a percentage with one decimal; a dash where there is none.

    >>> percent(0.0123), percent(None)
    ('1.2%', '–')
    """
    number = value.value if isinstance(value, Estimate) else value
    return "–" if number is None else f"{100 * number:.1f}%".replace("-", "−")


def ends(estimate: Estimate) -> str:
    """The ends of a share's interval.

    >>> ends(Estimate(0.1, 0.05, 0.2)), ends(Estimate(-0.1, -0.2, 0.05))
    ('5.0–20.0%', '−20.0 to 5.0%')
    """
    if estimate.low is None or estimate.high is None:
        return "–"
    words = f"{100 * estimate.low:.1f}{' to ' if estimate.low < 0 else '–'}{100 * estimate.high:.1f}%"
    return words.replace("-", "−")


def two(value: Estimate | float | None) -> str:
    """A figure with two decimals; a dash where there is none."""
    number = value.value if isinstance(value, Estimate) else value
    return "–" if number is None else f"{number:.2f}"


def _two_ends(estimate: Estimate) -> str:
    return "–" if estimate.low is None or estimate.high is None else f"{estimate.low:.2f}–{estimate.high:.2f}"


def _share(value: float | None) -> str:
    """A small share in full: 0.001 is 0.1%, 0.00025 is 0.025%."""
    return "–" if value is None else f"{100 * value:.3g}%"


def _points(values: Sequence[float], over: Sequence[float], width: float, height: float) -> str:
    """The points of a polyline in a box whose origin is its lower left corner."""
    return " ".join(f"{width * x:.1f},{height * (1 - y):.1f}" for x, y in zip(over, values, strict=True))


def render_html(template: str, context: dict[str, Any]) -> str:
    """A template as one self-contained page: its style and its script are inside, and its policy lets nothing else in."""
    script = (_FOLDER / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    style = (_FOLDER / "report.css").read_text(encoding="utf-8")
    page = {"style": Markup(style), "script": Markup(script), "script_hash": digest}
    return _environment(markdown=False).get_template(template).render(page | context)


def render_markdown(template: str, context: dict[str, Any]) -> str:
    """A template as Markdown in which every value is text and nothing else."""
    return _environment(markdown=True).get_template(template).render(context)


_FOLDER = Path(__file__).parent / "templates"


@cache
def _environment(markdown: bool) -> jinja2.Environment:
    def finalize(value: Any) -> Any:
        if not isinstance(value, str) or isinstance(value, Markup):
            return value
        return markdown_text(value) if markdown else visible(value)

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=not markdown,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        percent=percent, ends=ends, two=two, two_ends=_two_ends, share=_share, language=language_name, spoken=spoken, kind=kind_name,
        p=p_value, points=_points, number=lambda value: f"{value:,}",
        signed=lambda value: f"{value:+.2f}".replace("-", "−"),
    )  # fmt: skip
    return environment
