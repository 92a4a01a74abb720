"""What people read before they use a release: the model card and the licences of what it was trained on."""

from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from data_prep.licences import TERMS, terms_together
from export.variants import Variant
from train.run import Run


def model_card(run: Run, variants: list[Variant]) -> str:
    """The card, with the metadata block that model hubs read."""
    settings, manifest = run.record["settings"], run.record["data_manifest"]
    sources = manifest["sources"]
    non_commercial = any(source["non_commercial"] for source in sources.values())
    languages = sorted({count["language"] for count in manifest["counts"]})
    data = ModelCardData(
        language=languages,
        license="other",
        license_name="see-licenses-md",
        license_link="LICENSES.md",
        library_name="onnx",
        pipeline_tag="text-classification",
        tags=["content-moderation", *settings["heads"]],
        inference=False,
    )
    heads = "\n".join(f"- **{name}**: {head['description']}" for name, head in sorted(settings["heads"].items()))
    shipped = "\n".join(f"| {variant.name} | {'ships' if variant.ships else 'withheld'} | {variant.note} |" for variant in variants)
    text = f"""---
{data.to_yaml()}
---

# Model card: {settings["name"]}

Ranks posts for human review by independent questions about the author's stance:

{heads}

## Not for

Removing posts or accounts on its own, scoring persons, evidence in law enforcement, or any language whose tier in
`policy.json` is `not_evaluated` (or that it does not name): those posts all go to review.

## How it was made

Encoder {settings["encoder"]["name"]}, at most {settings["encoder"]["max_length"]} tokens, fine-tuned on mixture
`{manifest["mixture"]}` ({run.record["figures"]["train_rows"]:,} rows of {len(sources)} sources, `LICENSES.md`).
{f"Its weights are the mean of those of {len(runs)} such trainings." if (runs := settings.get("average")) else ""}
{_beside_the_encoder(run)}
{"**Some sources forbid commercial use, and so do their terms for this model.**" if non_commercial else ""}

## Graphs

| variant | | |
|---|---|---|
| fp32 | ships | the reference |
{shipped}

`contract.json` has the agreement of each variant with fp32 per language; `verify.py` shows whether a machine computes
what was measured. Quality is measured per language in the release's report; a language not listed there has not been evaluated.
"""
    return str(ModelCard(text))


def _beside_the_encoder(run: Run) -> str:
    """What the card says of n-grams: single words weigh more in heads that use them, which a reviewer should know."""
    helped = [head for head in run.model.config.heads if run.record["figures"].get(f"ngram_strength/{head}")]
    if not helped:
        return ""
    names = " and ".join(f"`{head}`" for head in helped)
    return f"In {names} pieces and pairs of pieces count beside the encoder: single words say more there."


def licences(manifest: dict[str, Any]) -> str:
    """`LICENSES.md`: every source with its licence and origin, and what some of them forbid or leave open."""
    sources = manifest["sources"]
    lines = [
        "# Licences of the training data",
        "",
        "What the sources' owners say. A reminder for people, not legal advice; the weights carry no licence of their own beyond these.",
        "",
        "| source | licence | non-commercial | origin |",
        "|---|---|---|---|",
    ]
    for name, source in sorted(sources.items()):
        forbidden = "yes" if source["non_commercial"] else "no"
        lines.append(f"| {source.get('title') or name} | {source['licence']} | {forbidden} | {source.get('origin', '')} |")
    for term, found in terms_together(sources).items():
        heading, consequence = TERMS[term]
        lines += ["", f"## {heading}", "", consequence, ""]
        lines += [f"- {source['name']}: {source['licence']}" for source in found]
    return "\n".join(lines) + "\n"
