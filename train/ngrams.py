"""What pieces and pairs of neighbouring pieces say by themselves: a linear model beside the encoder, inside the same graph.

A small encoder blurs what names, slurs and set phrases say plainly, and of a language that it hardly knows it may have little but words
to go by. Both together err less than either ("Wide & Deep Learning", Cheng et al. 2016). Here the linear model is fitted after the
encoder, not with it: neither leaves to the other what it can learn itself. Where it does not help on validation rows, it is left out.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array, diags_array, hstack
from sklearn.linear_model import LogisticRegression
from torch import nn

from train.labels import MASKED
from train.ranking import Floats, Weights, weighted_ranking
from train.tokenised import TokenisedRows
from train.validation import MIN_PER_CLASS

_FACTOR = 1_000_003  # of a pair's first piece; its products with ids are exact in 64 bits
_PRIME = 2_147_483_647
_STEPS = 127  # of a weight on either side of zero
_WEAK_PENALTY = 0.1  # scikit-learn's C, from a third to three times which validation rows hardly tell apart
_FREE = 50.0  # a language's own column is so large that the penalty hardly holds its weight back
_LEAST_GAIN = 0.005  # of AUPRC, without which there are none: a head that reads single words is easier to mislead and to evade
_DRAWS = 100  # of validation rows, which tell a standard error to within 7%
STRENGTHS = (0, 0.25, 0.5, 1, 2, 4, 8)  # of the n-grams beside the encoder's logits; few rows leave them small weights


class PieceNgrams(nn.Module):
    """A weight per head for each piece and each pair of neighbours, found by hashing in `weight` (buckets, heads); `bias` is (heads,).

    Those that fall into one bucket share its weight.
    """

    def __init__(self, buckets: int, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(buckets, heads), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(heads), requires_grad=False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """What is added to the logits, (batch, heads), of ids and mask (batch, sequence): sums over the root of the number of pieces."""
        pieces, pairs = hashed(input_ids, len(self.weight))
        both = attention_mask[:, :-1] * attention_mask[:, 1:]
        there = torch.cat([attention_mask, both], dim=1).unsqueeze(-1)
        sums = (nn.functional.embedding(torch.cat([pieces, pairs], dim=1), self.weight) * there).sum(dim=1)
        length = attention_mask.sum(dim=1, keepdim=True).clamp(min=1)  # a row of padding only has none
        return sums / length.float().sqrt() + self.bias


def hashed(ids: torch.Tensor, buckets: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The buckets of pieces, shape (..., sequence), and of pairs of neighbours, (..., sequence - 1)."""
    return ids % buckets, (ids[..., :-1] * _FACTOR + ids[..., 1:]) % _PRIME % buckets


def fit_ngrams(
    train_rows: TokenisedRows, validation_rows: TokenisedRows, logits: npt.NDArray[np.float32], buckets: int
) -> tuple[PieceNgrams, list[float]]:
    """N-grams beside a classifier, and how strong they are in each head: 0 where they do not help.

    Per head, logistic regression on the training rows, with columns as large as n-grams are salient (`_salience`) and a constant of each
    language's own, so that no n-gram is blamed for how many positives its language's rows have; how strong, the validation rows tell
    (`choose_strength`). The weights are rounded to 255 steps, as an int8 graph keeps them.

    Parameters
    ----------
    logits
        The classifier's, of the validation rows, shape (rows, heads).
    """
    features, asked = (_features(rows.ids, buckets) for rows in (train_rows, validation_rows))
    ngrams, strengths = PieceNgrams(buckets, logits.shape[1]), [0.0] * logits.shape[1]
    for head in range(logits.shape[1]):
        judged = train_rows.labels[:, head] != MASKED
        truth = train_rows.labels[judged, head]
        if len(np.unique(truth)) < 2:
            continue
        weight = _regression(features[judged], truth, train_rows.language_codes[judged])
        strengths[head] = choose_strength(logits[:, head], asked @ weight, validation_rows.labels[:, head], validation_rows.languages)
        step = strengths[head] * np.abs(weight).max() / _STEPS
        if step:
            ngrams.weight[:, head] = torch.from_numpy(np.rint(strengths[head] * weight / step) * step)
            # the sum of both has the mean of the encoder's logits alone
            ngrams.bias[head] = -(features[judged] @ ngrams.weight[:, head].double().numpy()).mean()
    return ngrams, strengths


def choose_strength(logits: Floats, scores: Floats, labels: npt.NDArray[np.int8], languages: Sequence[str]) -> float:
    """How much of the n-grams' scores to add to a head's logits: what gives the languages the highest AUPRC on average.

    But none if that gains less than `_LEAST_GAIN`, or less than two standard errors of the mean gain, as other rows of the same languages
    may (bootstrap within each language and class).
    """
    spoken, cells = np.asarray(languages), []
    for language in np.unique(spoken):
        judged = (spoken == language) & (labels != MASKED)
        classes = [np.flatnonzero(judged & (labels == label)) for label in (0, 1)]
        if min(map(len, classes)) >= MIN_PER_CLASS:
            cells.append(classes)
    if not cells:
        return 0.0

    def auprc(strength: float, classes: list[npt.NDArray[np.int64]], weights: Weights) -> Floats:
        rows = np.concatenate(classes)
        return weighted_ranking(logits[rows] + strength * scores[rows], labels[rows], weights)[1]

    once = [np.ones((sum(map(len, classes)), 1), dtype=np.float32) for classes in cells]
    reached = [np.mean([auprc(strength, *cell) for cell in zip(cells, once, strict=True)]) for strength in STRENGTHS]
    best = int(np.argmax(reached))  # of equals the weakest
    if reached[best] - reached[0] <= _LEAST_GAIN:
        return 0.0
    rng, variances = np.random.default_rng(0), []
    for classes in cells:
        drawn = [[np.bincount(rng.choice(len(rows), len(rows)), minlength=len(rows)) for rows in classes] for _ in range(_DRAWS)]
        weights = np.asarray([np.concatenate(counts) for counts in drawn], dtype=np.float32).T
        variances.append(np.var(auprc(STRENGTHS[best], classes, weights) - auprc(0, classes, weights), ddof=1))
    error = np.sqrt(np.sum(variances)) / len(cells)
    return float(STRENGTHS[best]) if reached[best] - reached[0] > 2 * error else 0.0


def ngram_logits(ngrams: PieceNgrams, rows: TokenisedRows) -> npt.NDArray[np.float32]:
    """What they add to the logits of rows, shape (rows, heads)."""
    added: npt.NDArray[np.float64] = (
        _features(rows.ids, len(ngrams.weight)) @ ngrams.weight.detach().double().numpy() + ngrams.bias.detach().numpy()
    )
    return added.astype(np.float32)


def _features(ids: Sequence[npt.NDArray[np.int32]], buckets: int) -> csr_array:
    """Counts of buckets over the root of the number of pieces, shape (rows, buckets): what `PieceNgrams` multiplies with its weights."""
    found = [torch.cat(hashed(torch.from_numpy(row.astype(np.int64)), buckets)).numpy() for row in ids]
    ends = np.cumsum([0, *(len(row) for row in found)], dtype=np.int32)  # scikit-learn takes no longer integers
    share = np.repeat([1 / np.sqrt(max(len(row), 1)) for row in ids], np.diff(ends))
    counts = csr_array((share, np.concatenate(found).astype(np.int32), ends), shape=(len(ids), buckets))
    counts.sum_duplicates()
    return counts


def _regression(features: csr_array, truth: npt.NDArray[np.int8], languages: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The weight of every bucket, shape (buckets,)."""
    salience = _salience(features, truth, languages)
    row = np.arange(len(truth), dtype=np.int32)
    of_language = csr_array((np.full(len(truth), _FREE), (row, languages.astype(np.int32))))
    columns = hstack([features @ diags_array(salience), of_language], format="csr")
    model = LogisticRegression(C=_WEAK_PENALTY, solver="liblinear", dual=True, max_iter=1_000, random_state=0)
    model.fit(columns, truth)
    weight: npt.NDArray[np.float64] = model.coef_[0, : features.shape[1]] * salience
    return weight


def _salience(features: csr_array, truth: npt.NDArray[np.int8], languages: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """How salient a bucket is, shape (buckets,): by how rare it is, and how unevenly the classes use it.

    The first is TF-IDF's second half, smoothed. The second is the size of the log-count ratio of "Baselines and Bigrams" (Wang and
    Manning 2012), here against the counts that its languages' shares of positives would give, so that a language's common words count
    as even.
    """
    there = (features > 0).astype(np.float64).T
    share = (np.bincount(languages, truth) / np.maximum(np.bincount(languages), 1))[languages]  # of positives, in each row's language
    rarity = np.log((1 + len(truth)) / (1 + there.sum(axis=1))) + 1
    positive = np.log((there @ truth + 1) / (there @ share + 1))
    negative = np.log((there @ (1 - truth) + 1) / (there @ (1 - share) + 1))
    salience: npt.NDArray[np.float64] = rarity * np.abs(positive - negative)
    return salience
