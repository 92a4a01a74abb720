"""How many edited copies of removed posts a release finds again, and how often it takes a different post for a copy.

python benchmarks/mirror.py releases/demo [--data data/sample] [--queries 200] [--bank 10000] [--variant fp32]

The bank holds the queries' originals, test posts of the mixture that nothing was trained on, among other posts of it. Each
query is an original edited in one way (`train.edits.RE_POST_EDITS`); it is found if the best match is its original.
Compared, all calibrated to the same rate of false matches per query on the same other posts:

    release    match.py: embedding or MinHash of the normalised text, thresholds of the artifact
    MinHash    of the text as received, one threshold
    SimHash    64 bits over the 4-grams of the text as received (Charikar 2002), one threshold

`different` is the share of unedited test posts, whose originals are not in the bank, that match something which shares less
than half of its 4-grams with them; `same topic` the same where the bank is, of each, the 20 posts of its source that are
nearest by their words (TF-IDF). The last line is JSON.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[0] = str(REPOSITORY)

from data_prep.files import read_json  # noqa: E402
from data_prep.table import load_examples  # noqa: E402
from export.client import CORES, Classifier  # noqa: E402
from export.match import GRAM, Fingerprints, find_matches, signature, similarities  # noqa: E402
from export.mirror import COPY  # noqa: E402
from train.edits import RE_POST_EDITS  # noqa: E402

LEAST = 50  # test posts of a language that is measured
TOPIC = 20  # posts on a query's topic

Similarity = npt.NDArray[np.float64]


def simhash(text: str) -> npt.NDArray[np.bool_]:
    """64 bits: the signs of the sums of the 4-grams' hashes, bit by bit."""
    grams = {text[start : start + GRAM] for start in range(max(1, len(text) - GRAM + 1))}
    digests = b"".join(hashlib.blake2b(gram.encode("utf-8", "surrogatepass"), digest_size=8).digest() for gram in sorted(grams))
    bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8).reshape(-1, 8), axis=1)
    return np.asarray(2 * bits.sum(axis=0, dtype=np.int64) > len(bits))


SKETCHES = {"MinHash": signature, "SimHash": simhash}


def sketches(kind: str, texts: list[str]) -> npt.NDArray[Any]:
    """MinHash slots or SimHash bits of texts as received, shape (texts, slots or bits)."""
    return np.stack([SKETCHES[kind](text) for text in texts])


def plain_similarity(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> Similarity:
    """Share of equal slots or bits, shape (one, other)."""
    return np.stack([(other == row).mean(axis=1) for row in one])


def threshold_for(similarity: Similarity, copies: npt.NDArray[np.bool_], rate: float) -> float:
    """The least threshold that at most `rate` of the queries reach with what is no copy of them."""
    highest = np.sort(np.where(copies, -1.0, similarity).max(axis=1))[::-1]
    return float(np.nextafter(highest[int(rate * len(highest))], 2))


def main() -> None:
    """Measure each language and edit, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path)
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data" / "sample")
    parser.add_argument("--queries", type=int, default=200, help="of a language")
    parser.add_argument("--bank", type=int, default=10_000)
    parser.add_argument("--variant", default="fp32")
    arguments = parser.parse_args()
    recipe = read_json(arguments.release / "artifact" / "mirror.json")
    classifier = Classifier(arguments.release / "artifact", arguments.variant, CORES)
    rate = recipe["false_matches_per_query"]

    table = load_examples(arguments.data)
    rng = np.random.default_rng(0)
    frame = table.select_columns(["text", "language", "family", "split", "source"]).to_pandas().drop_duplicates("family")
    frame = frame.sample(frac=1, random_state=0)
    held_out = frame[frame["split"] == "test"]
    sizes = held_out["language"].value_counts()
    chosen = held_out[held_out["language"].isin(sizes.index[sizes >= LEAST])].groupby("language").head(2 * arguments.queries)
    asked = chosen.groupby("language").head(arguments.queries)  # their originals are in the bank
    strangers = chosen.drop(asked.index)  # posts that the bank does not have
    strangers = strangers.iloc[rng.permutation(len(strangers))[:1000]]
    others = frame.drop(chosen.index).head(max(0, arguments.bank - len(asked)))
    bank_texts = [*asked["text"], *others["text"]]
    bank = Fingerprints(classifier, bank_texts)
    print(f"{len(asked)} originals of {asked['language'].nunique()} languages in a bank of {len(bank_texts)}; {len(strangers)} strangers")

    unknown = Fingerprints(classifier, strangers["text"].tolist())
    copies = np.concatenate([similarities(unknown, bank, [row])[1] for row in range(len(strangers))]) >= COPY
    kept = {kind: sketches(kind, bank_texts) for kind in SKETCHES}
    plain = {kind: plain_similarity(sketches(kind, strangers["text"].tolist()), kept[kind]) for kind in SKETCHES}
    thresholds = {kind: threshold_for(found, copies, rate) for kind, found in plain.items()}
    different = {match.post for match in find_matches(unknown, bank, recipe["bands"]) if not copies[match.post, match.entry]}

    results: dict[str, Any] = {
        "different": round(len(different) / max(1, len(strangers)), 4),
        "same_topic": same_topic(frame, strangers, classifier, recipe),
    }
    print(f"false matches per query: different posts {results['different']:.2%}, same topic {results['same_topic']:.2%}")
    print(f"{'':18}{'language':10}{'copies':>8}{'release':>9}{'MinHash':>9}{'SimHash':>9}")
    for name, edit in RE_POST_EDITS.items():
        edited = asked.assign(edited=[edit(text) for text in asked["text"]])
        edited = edited.assign(place=np.arange(len(edited)))
        edited = edited[edited["edited"] != edited["text"]]  # an edit that leaves a text as it is does not apply
        if edited.empty:
            continue
        queries = Fingerprints(classifier, edited["edited"].tolist())
        best = {match.post: match.entry for match in find_matches(queries, bank, recipe["bands"])}
        found = {"release": np.asarray([best.get(row) == place for row, place in enumerate(edited["place"])])}
        for kind, threshold in thresholds.items():
            similarity = plain_similarity(sketches(kind, edited["edited"].tolist()), kept[kind])
            found[kind] = (similarity.argmax(axis=1) == edited["place"]) & (similarity.max(axis=1) >= threshold)
        results[name] = {}
        for language in [*sorted(edited["language"].unique()), "all"]:
            here = np.asarray(edited["language"] == language) | (language == "all")
            recall = {kind: round(float(np.asarray(hits)[here].mean()), 3) for kind, hits in found.items()}
            results[name][language] = {"copies": int(here.sum()), **recall}
            shares = "".join(f"{recall[kind]:9.1%}" for kind in ("release", "MinHash", "SimHash"))
            print(f"{name:18}{language:10}{here.sum():8d}{shares}", flush=True)
    print(json.dumps(results))


def same_topic(frame: Any, strangers: Any, classifier: Classifier, recipe: dict[str, Any]) -> float:
    """Share of posts that match one of the posts of their source which are nearest to them by words, and no copies."""
    false = 0
    for source, posts in strangers.groupby("source"):
        rivals = frame[(frame["source"] == source) & ~frame.index.isin(posts.index)].head(4000)
        if len(rivals) <= TOPIC:
            continue
        vectoriser = TfidfVectorizer(min_df=2, sublinear_tf=True).fit(rivals["text"])
        closeness = (vectoriser.transform(posts["text"]) @ vectoriser.transform(rivals["text"]).T).toarray()
        nearest = np.argsort(-closeness, axis=1)[:, :TOPIC]
        wanted = np.unique(nearest)
        place = {int(row): index for index, row in enumerate(wanted)}
        bank = Fingerprints(classifier, rivals["text"].iloc[wanted].tolist())
        asked = Fingerprints(classifier, posts["text"].tolist())
        for row in range(len(posts)):
            near = [place[int(entry)] for entry in nearest[row]]
            one, some = _only(asked, [row]), _only(bank, near)
            false += any(match.jaccard < COPY for match in find_matches(one, some, recipe["bands"]))
    return round(false / max(1, len(strangers)), 4)


def _only(prints: Fingerprints, rows: list[int]) -> Fingerprints:
    chosen = object.__new__(Fingerprints)
    vars(chosen).update({name: values[rows] for name, values in vars(prints).items()})
    return chosen


if __name__ == "__main__":
    main()
