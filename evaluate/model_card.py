"""The release's model card, as `huggingface_hub` writes them: who may use it for what, and what it was measured to do."""

import re
from collections.abc import Sequence

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from evaluate.measures import Cell
from train.policy import NOT_EVALUATED

PROHIBITED = {
    "Removal on this basis alone": "A flag puts a post before a person. It must not delete, hide, demonetise or block anything by itself.",
    "Scoring of persons": "Figures hold for posts. Adding up a person's posts to a score of them is not measured and not allowed.",
    "Evidence for law enforcement": "A flag proves nothing about an author's intent, membership or offence.",
    "Languages that were not evaluated": "Where the table below says so, the artifact sends every post to review; do not override that.",
}


def model_card(name: str, mixture: str, non_commercial: bool, cells: Sequence[Cell], body: str) -> str:
    """The card in Markdown: `body`, under a YAML head with the figures of the languages that reach a tier."""
    results = [
        EvalResult(
            task_type="text-classification",
            task_name=cell.head,
            dataset_type=_identifier(mixture),
            dataset_name=f"{_identifier(mixture)} ({_identifier(cell.language)})",
            dataset_split="test",
            metric_type=metric,
            metric_name=f"{cell.head} {metric}",
            metric_value=round(value, 4),
        )
        for cell in cells
        if cell.tier.name != NOT_EVALUATED
        for metric, value in (("f1", cell.figures.f1.value), ("fpr", cell.figures.fpr.value), ("fnr", cell.figures.fnr.value))
        if value is not None
    ]
    claimed = sorted({cell.language for cell in cells if cell.tier.name != NOT_EVALUATED})
    data = ModelCardData(
        language=[_identifier(language) for language in claimed] or None,
        license="other",
        license_name="non-commercial" if non_commercial else "see-sources",
        pipeline_tag="text-classification",
        tags=["content-moderation", "propaganda", "human-review"],
        model_name=_identifier(name),
        eval_results=results or None,
    )
    return str(ModelCard.from_template(data, template_str="---\n{{ card_data }}\n---\n\n{{ body }}", body=body))


def _identifier(text: str) -> str:
    """A name fit for the YAML head: letters, digits, dot, dash and underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:80] or "unnamed"
