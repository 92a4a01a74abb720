"""Thresholds for finding re-posted copies: how similar two different posts ever are, by the length of the one asked about."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from export.client import Classifier
from export.match import GRAM, SLOTS, Fingerprints, similarities
from export.settings import MirrorSettings

BANDS = ((0, 40), (40, 100), (100, None))  # characters of the normalised text; short posts share more with each other
COPY = 0.5  # posts at least this similar by their 4-grams are copies of each other, and no false match


def calibrate(classifier: Classifier, texts: Sequence[str], settings: MirrorSettings) -> dict[str, Any]:
    """What `mirror.json` says: a threshold per length band and similarity, for a rate of false matches **per query**.

    Some texts ask, and all others are the bank. A query's false match is its most similar bank entry that is no copy of it
    (Jaccard similarity of the 4-grams below 0.5). Half the rate is allowed to either similarity. Over a bank of another size
    than the wanted one, the rate scales with it (the union bound). The threshold is the k-th highest of n queries'
    maxima with k = floor(rate (n + 1)); with k = 0 the texts are too few to tell, and the band has none.
    """
    rng = np.random.default_rng(0)
    distinct = sorted(set(texts))
    chosen = [distinct[index] for index in rng.permutation(len(distinct))[: settings.bank + settings.queries]]
    prints = Fingerprints(classifier, chosen)
    bands = []
    for low, high in BANDS:
        here = np.flatnonzero((prints.lengths >= low) & (prints.lengths < (high or np.inf)))[: settings.queries]
        rate = settings.false_match_rate / 2 * min(1.0, (len(chosen) - 1) / settings.bank)
        place = int(rate * (len(here) + 1))
        band: dict[str, Any] = {"from": low, "to": high, "queries": len(here), "cosine": None, "jaccard": None}
        if place > 0:
            highest = np.asarray([_highest(prints, row) for row in here.tolist()])
            cosine, jaccard = -np.partition(-highest, place - 1, axis=0)[place - 1]
            band |= {"cosine": round(float(np.nextafter(np.float32(cosine), np.float32(2))), 6), "jaccard": float(jaccard) + 1 / SLOTS}
        bands.append(band)
    missing = [band for band in bands if band["cosine"] is None]
    return {
        "meaning": "two posts match if the cosine of their sentence embeddings or the Jaccard similarity of their 4-grams reaches "
        "the threshold of the newer one's length band; a match calls for a look, and the copy is scored anew",
        "false_matches_per_query": settings.false_match_rate,
        "bank": settings.bank,
        "gram": GRAM,
        "slots": SLOTS,
        "bands": bands,
        "note": f"{len(chosen)} texts were too few to calibrate {len(missing)} of {len(bands)} bands" if missing else "",
    }


def _highest(prints: Fingerprints, row: int) -> tuple[float, float]:
    """A text's highest cosine and Jaccard similarity to any other that is no copy of it."""
    (cosine,), (jaccard,) = similarities(prints, prints, [row])
    others = jaccard < COPY  # which a text is not to itself, if there is anything to tell it by
    return (float(cosine[others].max()), float(jaccard[others].max())) if others.any() else (-1.0, 0.0)
