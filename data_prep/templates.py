"""Hand-written templates with slots become rows: the embedded sample is written this way.

A folder holds `concepts.yaml` (what each class of templates means, see the sample's) and one YAML file
per language with `language`, `slots` and `templates`, whose keys are `<class>_<variant>`.
"""

import hashlib
import itertools
import string
from pathlib import Path
from typing import Any

import yaml

from data_prep.command import UserError


def read_templates(concepts_path: Path) -> list[dict[str, Any]]:
    """Expand every language file beside `concepts_path`.

    Returns
    -------
    Rows with the columns `text`, `language`, `concept` (the template's key), `filling` (slot -> value), `split` and all
    columns that the concept's class defines. Which slot fillings a template gets is fixed by a hash of its key
    and language, so that adding a template never changes another's rows.

    Raises
    ------
    UserError
        If a template names an unknown class, variant or slot.
    """
    concepts = yaml.load(concepts_path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    columns = sorted({name for meaning in concepts["classes"].values() for name in meaning})
    rows: list[dict[str, Any]] = []
    for path in sorted(concepts_path.parent.glob("*.yaml")):
        if path == concepts_path:
            continue
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        for concept, template in document["templates"].items():
            name, _, variant = concept.rpartition("_")
            if name not in concepts["classes"] or int(variant) not in concepts["variants"]:
                raise UserError(f"{path}: template {concept} names a class or variant that {concepts_path} does not define")
            meaning = concepts["classes"][name]
            split = concepts["variants"][int(variant)]
            seed = f"{document['language']}/{concept}"
            for filling, text in _fill(template, document["slots"], seed, concepts["rows_per_template"][split], path):
                rows.append(
                    {
                        "text": text,
                        "language": document["language"],
                        "concept": concept,
                        "filling": filling,
                        "split": split,
                        **{column: meaning.get(column) for column in columns},
                    }
                )
    return rows


def _fill(template: str, slots: dict[str, list[str]], seed: str, most: int, path: Path) -> list[tuple[dict[str, str], str]]:
    """At most `most` fillings of a template with their texts, chosen by hash; sentence starts are capitalised where the script has case."""
    used = [name for _, name, _, _ in string.Formatter().parse(template) if name]
    unknown = set(used) - slots.keys()
    if unknown:
        raise UserError(f"{path}: the template {seed} uses the slot {sorted(unknown)[0]}, which the file does not define")
    names = sorted(set(used))
    fillings = [dict(zip(names, values, strict=True)) for values in itertools.product(*(slots[name] for name in names))]
    fillings.sort(key=lambda filling: hashlib.sha256(f"{seed}/{sorted(filling.items())}".encode()).digest())
    return [(filling, _capitalise(template.format(**filling))) for filling in fillings[:most]]


def _capitalise(text: str) -> str:
    """Upper-case the first letter of the text and of each sentence."""
    start = True
    characters = []
    for character in text:
        characters.append(character.upper() if start and character.isalpha() else character)
        if character.isalpha() or character.isdigit():
            start = False
        elif character in ".!?":
            start = True
    return "".join(characters)
