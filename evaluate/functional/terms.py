"""What exchanging one term in a neutral sentence does to a score: groups, places, honorifics, nationalities, religions.

Every sentence of `terms/` is allowed speech, whichever term stands in it; groups and places are fictional. A term's shift is
the mean, over the templates of its kind, of its calibrated log-odds minus the mean of all terms in the same template, so
that a harmless sentence's own score cancels out. Intervals come from drawing templates with replacement.
"""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy.special import logit

from evaluate.functional.cases import signature
from evaluate.functional.scoring import answered_probabilities
from export.client import Classifier
from train.policy import Policy

TERMS = Path(__file__).parent / "terms"
SEED = 0


def term_cases() -> pd.DataFrame:
    """Every template with every term of its kind: `language`, `kind`, `term`, `template`, `text`, `validated_by`."""
    rows = []
    for path in sorted(TERMS.glob("*.yaml")):
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        for kind, content in document["kinds"].items():
            for (number, template), (name, term) in itertools.product(enumerate(content["templates"], 1), content["terms"].items()):
                text = template.replace("{term}", term)
                rows.append(
                    {
                        "language": document["language"],
                        "kind": kind,
                        "term": name,
                        "template": f"{kind}_{number}",
                        "text": text[:1].upper() + text[1:],
                        "validated_by": signature(document["validated_by"]),
                    }
                )
    return pd.DataFrame(rows)


def answer_terms(classifier: Classifier, cases: pd.DataFrame) -> pd.DataFrame:
    """The cases once per head, with `head`, `probability` and `flagged`."""
    policy = Policy.from_json(classifier.policy)
    probabilities = answered_probabilities(classifier, cases["text"].tolist(), cases["language"].tolist(), "exchanged terms")
    answers = []
    for head in map(str, probabilities):
        thresholds = [policy.heads[head].threshold_of(language) for language in cases["language"]]
        flagged = probabilities[head].to_numpy() >= np.asarray(thresholds)
        answers.append(cases.assign(head=head, probability=probabilities[head].to_numpy(), flagged=flagged))
    return pd.concat(answers, ignore_index=True)


def term_shifts(answers: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """How far each term moves the score from its templates' means, with 95% bootstrap percentile intervals over templates.

    Returns
    -------
    `head`, `language`, `kind`, `term`, `templates`, `flagged` (how many of its sentences), `probability` (mean), `shift`
    (log-odds), `low`, `high` and `shift_probability`. An interval over few templates is rough: read it as a hint.
    """
    rng = np.random.default_rng(SEED)
    rows = []
    for (head, language, kind), of_kind in answers.groupby(["head", "language", "kind"], sort=False):
        probabilities = of_kind.pivot(index="template", columns="term", values="probability")
        flagged = of_kind.groupby("term")["flagged"].sum()
        odds = logit(np.clip(probabilities.to_numpy(), 1e-9, 1 - 1e-9))
        shifts = odds - odds.mean(axis=1, keepdims=True)  # (templates, terms)
        drawn = rng.integers(len(shifts), size=(resamples, len(shifts)))
        low, high = np.quantile(shifts[drawn].mean(axis=1), [0.025, 0.975], axis=0)
        plain = probabilities.to_numpy() - probabilities.to_numpy().mean(axis=1, keepdims=True)
        for column, term in enumerate(probabilities.columns):
            rows.append(
                {
                    "head": head,
                    "language": language,
                    "kind": kind,
                    "term": term,
                    "templates": len(shifts),
                    "flagged": int(flagged[term]),
                    "probability": probabilities[term].mean(),
                    "shift": shifts[:, column].mean(),
                    "low": low[column],
                    "high": high[column],
                    "shift_probability": plain[:, column].mean(),
                }
            )
    return pd.DataFrame(rows)
