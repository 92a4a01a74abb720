#!/usr/bin/env python3
"""Which posts are copies, perhaps lightly edited, of posts in a bank?

    python match.py bank=removed.jsonl posts=new.jsonl                                    (in an artifact's folder)
    python match.py bank=removed.jsonl posts=new.jsonl variant=int8 > matches.jsonl       (with a smaller model, into a file)
    python -m export.match release=releases/demo bank=removed.jsonl posts=new.jsonl       (in a checkout)

Each line of both files is an object with `text`, and `id` if it has one (else the line's number). Prints a line for each
post that matches: its id, the bank's, and both similarities. A match is a reason to look, never a verdict: the copy is
scored anew, and may be a quotation. Needs only onnxruntime, tokenizers and numpy. Exit code 2: the input is wrong.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).absolute().parent
try:
    if (FOLDER / "predict.py").is_file():  # a model hub's cache has links here, and Python looks where they lead
        sys.path.insert(0, str(FOLDER))
    from predict import CORES, Classifier  # type: ignore[import-not-found]  # the artifact's own client, beside this file
except ImportError:
    from export.client import CORES, Classifier

GRAM = 4  # characters
SLOTS = 128  # values in a signature
MASKS = {"http", "@user", "email", "phone"}  # what the normaliser writes for links, handles, addresses and numbers
BLOCK = 256  # posts compared at once


@dataclass(frozen=True)
class Match:
    """A post, the most similar bank entry that passes a threshold, and how similar they are."""

    post: int
    entry: int
    cosine: float
    jaccard: float


def _multipliers(name: str) -> np.ndarray:
    digests = (hashlib.blake2b(f"{name}{slot}".encode(), digest_size=8).digest() for slot in range(SLOTS))
    return np.asarray([int.from_bytes(digest, "little") | 1 for digest in digests], dtype=np.uint64)


_FACTORS, _SHIFTS = _multipliers("factor"), _multipliers("shift")


def signature(text: str) -> np.ndarray:
    """MinHash (Broder 1997) of a normalised text's character 4-grams: the share of equal slots estimates the Jaccard similarity.

    A gram's hash h is the first 8 bytes, little endian, of BLAKE2b over its UTF-8; slot i holds the least of
    ((h * factor_i + shift_i) mod 2^64) >> 32, where factor_i and shift_i are the hashes of "factor<i>" and "shift<i>", made odd.
    A text shorter than 4 characters is one gram.
    """
    grams = sorted({text[start : start + GRAM] for start in range(max(1, len(text) - GRAM + 1))})
    digests = [hashlib.blake2b(gram.encode("utf-8", "surrogatepass"), digest_size=8).digest() for gram in grams]
    hashes = np.asarray([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)
    slots = ((hashes[:, None] * _FACTORS + _SHIFTS) >> np.uint64(32)).min(axis=0)
    return np.asarray(slots, dtype=np.uint32)


class Fingerprints:
    """What texts are compared by: embeddings (texts, dimension), signatures (texts, slots) and lengths of the normalised texts.

    A text with less than a 4-gram besides its links, handles, addresses and numbers, which are masked, has nothing to tell it by: it is
    not `telling` and matches nothing, or any two links would be copies of each other.
    """

    def __init__(self, classifier: Classifier, texts: Sequence[str]) -> None:
        whole = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
        normalised = [classifier.tokenizer.normalizer.normalize_str(text).strip() for text in whole]
        self.embeddings = classifier.run(list(texts))[1]
        self.signatures = np.stack([signature(text) for text in normalised]) if texts else np.zeros((0, SLOTS), np.uint32)
        self.lengths = np.asarray([len(text) for text in normalised], dtype=np.int64)
        rest = [sum(len(word) for word in text.split() if word not in MASKS) for text in normalised]
        self.telling = np.asarray(rest, dtype=np.int64) >= GRAM


def similarities(one: Fingerprints, bank: Fingerprints, rows: Sequence[int]) -> tuple[Any, Any]:
    """Cosine and estimated Jaccard similarity of some rows of one with all of the bank, each of shape (rows, bank).

    -1 and 0 where a text has nothing to tell it by.
    """
    chosen = list(rows)
    cosine = one.embeddings[chosen] @ bank.embeddings.T
    jaccard = np.stack([(bank.signatures == one.signatures[row]).mean(axis=1) for row in chosen])
    both = one.telling[chosen, None] & bank.telling
    return np.where(both, cosine, -1), np.where(both, jaccard, 0)


def find_matches(posts: Fingerprints, bank: Fingerprints, bands: Sequence[dict[str, Any]]) -> Iterator[Match]:
    """The matches, in the posts' order: a pair matches if either similarity reaches the threshold of the post's length band."""
    thresholds = np.full((len(posts.lengths), 2), np.inf)
    for band in bands:
        here = (posts.lengths >= band["from"]) & (posts.lengths < (band["to"] or np.inf))
        thresholds[here] = [np.inf if band[name] is None else band[name] for name in ("cosine", "jaccard")]
    for start in range(0, len(posts.lengths) if len(bank.lengths) else 0, BLOCK):
        rows = range(start, min(start + BLOCK, len(posts.lengths)))
        cosine, jaccard = similarities(posts, bank, rows)
        # how far above (or below) its threshold, so that the two can be compared
        margin = np.maximum(cosine - thresholds[start : rows.stop, :1], jaccard - thresholds[start : rows.stop, 1:])
        for place, entry in enumerate(margin.argmax(axis=1)):
            if margin[place, entry] >= 0:
                yield Match(start + place, int(entry), float(cosine[place, entry]), float(jaccard[place, entry]))


def read_posts(path: Path) -> list[dict[str, Any]]:
    """The posts of a file of JSON lines.

    Raises
    ------
    ValueError
        If there is no such file or a line is no object with a text; the message names the line.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}: give bank=<file> and posts=<file>, JSON lines with a text each")
    posts = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            post = json.loads(line)
        except ValueError:
            post = None
        if not isinstance(post, dict) or not isinstance(post.get("text"), str):
            raise ValueError(f"{path}, line {number}: no JSON object with a text; write one object per line")
        posts.append({"id": post.get("id", number), "text": post["text"]})
    return posts


def main(arguments: Sequence[str]) -> int:
    """Match the files that the arguments name; returns the exit code."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    options = dict(argument.partition("=")[::2] for argument in arguments)
    if unknown := sorted(set(options) - {"bank", "posts", "variant", "release"}):
        print(f"error: {unknown[0]} is no option: use bank=, posts=, variant= and release=", file=sys.stderr)
        return 2
    folder = Path(options["release"]) / "artifact" if "release" in options else FOLDER
    try:
        if not (folder / "mirror.json").is_file():
            raise ValueError(f"no artifact with a mirror.json at {folder}: give release=releases/<name>, exported by this version")
        recipe = json.loads((folder / "mirror.json").read_text(encoding="utf-8"))
        if all(band["cosine"] is None and band["jaccard"] is None for band in recipe["bands"]):
            raise ValueError(f"this release has no thresholds to match by: {recipe['note']}")
        classifier = Classifier(folder, options.get("variant", "fp32"), CORES)
        bank, posts = (read_posts(Path(options.get(name, ""))) for name in ("bank", "posts"))
        newer, older = (Fingerprints(classifier, [entry["text"] for entry in entries]) for entries in (posts, bank))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    unknown_to = [band for band in recipe["bands"] if band["cosine"] is None and band["jaccard"] is None]
    skipped = sum(int(((newer.lengths >= band["from"]) & (newer.lengths < (band["to"] or np.inf))).sum()) for band in unknown_to)
    if skipped:
        print(f"{skipped} of {len(posts)} posts are of a length without thresholds and match nothing: {recipe['note']}", file=sys.stderr)
    matched = 0
    for match in find_matches(newer, older, recipe["bands"]):
        matched += 1
        said = {"post": posts[match.post]["id"], "bank": bank[match.entry]["id"]}
        print(json.dumps({**said, "cosine": round(match.cosine, 4), "jaccard": round(match.jaccard, 4)}))
    print(f"{matched} of {len(posts)} posts match -> standard output; next: score them anew with predict.py", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
