"""What a trimmed vocabulary costs on unseen texts: tokens per text, as a multiple of those with the whole vocabulary.

python benchmarks/trimming.py [--data data/sample] [--reserves 5000 30000 60000]

The packaged encoder's vocabulary is trimmed to the training texts and a reserve, and the test texts are cut into pieces, per
language: with the reserve of `train/encoder.py`, shared equally by the texts' scripts, and with one of as many pieces that are the
most frequent of all. A word that falls apart loses the vector that the encoder knows it by. The last line is JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path[0] = str(REPOSITORY := Path(__file__).resolve().parent.parent)

from data_prep.script import dominant_script  # noqa: E402
from data_prep.table import load_examples  # noqa: E402
from train.encoder import Pieces, build_tokenizer, load_encoder, trim_vocabulary  # noqa: E402
from train.encoding import encode  # noqa: E402
from train.settings import EncoderSettings  # noqa: E402

PACKAGED = EncoderSettings(name="bench", kind="packaged")


def lengths(pieces: Pieces, texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Tokens of each text, without truncation."""
    tokenizer = build_tokenizer(pieces, PACKAGED.max_length)
    tokenizer.no_truncation()
    return np.array([len(ids) for ids in encode(texts, tokenizer)])


def main() -> None:
    """Trim, cut into pieces, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data" / "sample")
    parser.add_argument("--reserves", type=int, nargs="+", default=[5_000, 30_000, 60_000])
    arguments = parser.parse_args()
    table = load_examples(arguments.data)
    split = np.asarray(table["split"])
    seen, unseen = (table.select(np.flatnonzero(split == name)) for name in ("train", "test"))
    languages = np.asarray(unseen["language"])
    whole = load_encoder(PACKAGED).pieces
    least = {piece for piece, _ in trim_vocabulary(load_encoder(PACKAGED), seen["text"], 0).pieces}
    by_frequency = sorted((piece for piece in whole if piece[1] < 0), key=lambda piece: -piece[1])  # not the special ones, at 0
    latin = [dominant_script(piece) == "Latn" for piece, _ in by_frequency[: max(arguments.reserves)]]
    print(f"of the {len(latin):,} most frequent pieces {np.mean(latin):.0%} are Latin")
    full = lengths(whole, unseen["text"])
    results = []
    for reserve in arguments.reserves:
        frequent = least | {piece for piece, _ in by_frequency[:reserve]}
        vocabularies = {
            "most frequent": [piece for piece in whole if piece[0] in frequent],
            "by script": trim_vocabulary(load_encoder(PACKAGED), seen["text"], reserve).pieces,
        }
        for choice, pieces in vocabularies.items():
            cut = lengths(pieces, unseen["text"])
            ratios = {
                language: round(float(cut[rows].sum() / full[rows].sum()), 3)
                for language in np.unique(languages)
                for rows in [languages == language]
            }
            results.append(
                {"reserve": reserve, "choice": choice, "pieces": len(pieces), "all": round(float(cut.sum() / full.sum()), 3), **ratios}
            )
            print("  ".join(f"{name} {value}" for name, value in results[-1].items()), flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
