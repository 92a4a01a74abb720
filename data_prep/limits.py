"""What names and numbers in the settings of a preparation may be, beyond their types."""

import re
from collections.abc import Iterable

from data_prep.command import UserError
from data_prep.settings import DataPrepSettings, MixtureSettings, SourceSettings
from data_prep.table import example_schema
from data_prep.tags import language_tag

# columns of the tables that lead to the Example table, beside its own
_HELPERS = {"normalised", "declared_family", "detected", "official", "labelled", "held_out", "conflicts", "near", "duplicate_of", "against"}


def check_name(key: str, name: str) -> str:
    """The name itself, if it can be the name of a folder and leads nowhere else.

    >>> check_name("release", "demo-2.1")
    'demo-2.1'

    Raises
    ------
    UserError
        If it could lead out of its folder or is hard to type.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UserError(
            f"{key}={name!r} is not a usable name: use letters, digits, dot, dash and underscore, at most 64, a letter or digit first"
        )
    return name


def check_heads(heads: Iterable[str]) -> None:
    """Refuse a head that is named like a column, or like none.

    Raises
    ------
    UserError
        If there is no head, or one has such a name.
    """
    names = list(heads)
    if not names:
        raise UserError("heads names none: give at least one question, as configs/head/default.yaml does")
    taken = {*example_schema([]).names, *_HELPERS}
    for name in names:
        if name in taken or not re.fullmatch(r"[A-Za-z]\w{0,63}", name, re.ASCII):
            raise UserError(f"heads.{name} is not a usable name for a head: use letters, digits and underscore, and no name of a column")


def check_data_settings(settings: DataPrepSettings) -> None:
    """Refuse what no preparation can be made with, before anything is read.

    Raises
    ------
    UserError
        If a name could lead out of its folder or is there twice, a number is out of its range, or a label or a language is none.
    """
    check_heads(settings.heads)
    check_mixture(settings.mixture)
    if settings.engine.workers is not None and settings.engine.workers < 1:
        raise UserError(f"engine.workers={settings.engine.workers} does no work: give at least 1, or null for one per core")
    for source in (*settings.mixture.sources.values(), *settings.mixture.held_out.values()):
        _check_labels(source, settings.heads)
        _check_languages(source)


def check_mixture(mixture: MixtureSettings) -> None:
    """Refuse a mixture without sources, names that cannot be or are there twice, and shares that cannot be.

    Raises
    ------
    UserError
        If there is such a thing.
    """
    check_name("mixture.name", mixture.name)
    if not mixture.sources:
        raise UserError(f"mixture {mixture.name} has no source: list at least one in its config, as configs/mixture/sample.yaml does")
    names: set[str] = set()
    for source in (*mixture.sources.values(), *mixture.held_out.values()):
        check_name("the name of a source", source.name)
        if source.name in names:
            raise UserError(
                f"mixture {mixture.name} has two sources called {source.name}: give each a name of its own, and list none "
                "both in sources and in held_out"
            )
        names.add(source.name)
    for key, source in mixture.sources.items():
        if key != source.name:
            raise UserError(
                f"mixture {mixture.name} lists the source {source.name} as {key}: write sources.{source.name} there, or name: {key} in the "
                "source's config"
            )
    for key in ("validation_fraction", "test_fraction", "max_leaking"):
        if not 0 <= getattr(mixture, key) <= 1:
            raise UserError(f"mixture.{key}={getattr(mixture, key)} is no share: use 0 to 1")
    if mixture.validation_fraction + mixture.test_fraction >= 1:
        raise UserError("mixture.validation_fraction and mixture.test_fraction leave nothing to train on: use less than 1 together")
    if not 0.5 <= mixture.near_duplicate <= 1:
        raise UserError(f"mixture.near_duplicate={mixture.near_duplicate} is no similarity to look for: use at least 0.5 and at most 1")


def _check_labels(source: SourceSettings, heads: Iterable[str]) -> None:
    known = list(heads)
    for head, columns in source.labels.items():
        if head not in known:
            raise UserError(f"source {source.name} names the head {head} in its labels: the heads are {', '.join(known)}")
        for column, cells in columns.items():
            for cell, label in cells.items():
                if label not in (0, 1, None):
                    raise UserError(f"source {source.name}: labels.{head}.{column} maps {cell!r} to {label}: a label must be 1, 0 or null")


def _check_languages(source: SourceSettings) -> None:
    named = {"language.value": source.language.value}
    named |= {f"language.map.{cell}": code for cell, code in (source.language.map or {}).items()}
    named |= {f"parallel.{column}": code for column, code in source.parallel.items()}
    for key, code in named.items():
        if code is not None and language_tag(code) is None:
            raise UserError(
                f"source {source.name}: {key} is {code!r}, which is no BCP-47 code such as en or ur-Latn: correct it, and write codes in "
                "quotation marks, since YAML takes no without them for false"
            )
