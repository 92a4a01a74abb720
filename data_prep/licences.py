"""What the licences of a mixture's sources forbid, read from their names: a reminder for people, not legal advice."""

import re
from typing import Any

# What in a licence's name says which of `TERMS`; one name can say several.
_SIGNS = {
    "non_commercial": r"\bNC\b|non-?\s?commercial",
    "no_permission": r"^\W*$|\b(none|not|un)[- ]?stated|\bunknown\b|\bno licen[cs]e\b|\bunlicen[cs]ed\b|\ball rights reserved\b",
    "no_derivatives": r"\bND\b|\bno-?\s?deriv",
    "share_alike": r"\bSA\b|\bshare-?\s?alike\b|\b[AL]?GPL|\bGFDL\b|\bODbL\b|\bCDLA-Sharing\b|\bEUPL\b|\bMPL\b",
    "research_only": r"\bresearch\b|\bacademic\b",
}
_PERMISSIVE = (
    r"\bMIT\b|\bApache\b|\bBSD\b|\bISC\b|\bUnlicense\b|\bCC[- ]?0\b|\bCC[- ]BY\b|\bPDDL\b|\bODC-BY\b|\bCDLA-Permissive\b|\bpublic domain\b"
)

# Term -> heading and consequence in plain language; the order is that of the datasheet.
TERMS = {
    "non_commercial": (
        "Non-commercial",
        "Commercial use is forbidden, and a model trained on them is non-commercial too.",
    ),
    "no_permission": (
        "No licence stated",
        "Nobody gave permission to redistribute: do not pass their rows on, and ask the owners before passing on a model trained on them.",
    ),
    "no_derivatives": (
        "No derivatives",
        "Adapted versions of the data must not be passed on, and a prepared table may be one.",
    ),
    "share_alike": (
        "Share-alike",
        "Adapted data may be passed on only under the same licence. Whether a trained model is adapted data is a question for a lawyer.",
    ),
    "research_only": (
        "For research",
        "The terms speak of research and say nothing of a product: ask the owners first.",
    ),
    "unrecognised": (
        "Not recognised",
        "The name is of no licence known here: read the terms.",
    ),
}


def licence_terms(licence: str, non_commercial: bool) -> set[str]:
    """What a licence forbids or leaves open, of `TERMS`; empty for a licence known to be permissive.

    Parameters
    ----------
    licence
        As the source's config states it: SPDX names or words, several for several parts of the data.
    non_commercial
        The config's own word on commercial use; it adds to what the name says and never takes away.

    >>> licence_terms("CC-BY-NC-SA-4.0", False) == {"non_commercial", "share_alike"}
    True
    >>> licence_terms("Apache-2.0; sentences CC-BY-SA-4.0", False), licence_terms("none stated", False)
    ({'share_alike'}, {'no_permission'})
    >>> licence_terms("MIT", False), licence_terms("MIT", True), licence_terms("ask Quorrin Press", False)
    (set(), {'non_commercial'}, {'unrecognised'})
    """
    terms = {term for term, sign in _SIGNS.items() if re.search(sign, licence, re.IGNORECASE)}
    if not terms and not re.search(_PERMISSIVE, licence, re.IGNORECASE):
        terms.add("unrecognised")
    return terms | {"non_commercial"} if non_commercial else terms


def terms_together(sources: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """For each of `TERMS` that any source carries: those sources, each with its `name`, `licence` and `held_out`.

    Parameters
    ----------
    sources
        A manifest's: name -> `licence`, `non_commercial` and, where the pipeline says so, `held_out` (tested on only).
    """
    together: dict[str, list[dict[str, Any]]] = {term: [] for term in TERMS}
    for name, source in sources.items():
        for term in licence_terms(source["licence"], source["non_commercial"]):
            together[term].append({"name": name, "licence": source["licence"], "held_out": source.get("held_out", False)})
    return {term: found for term, found in together.items() if found}
