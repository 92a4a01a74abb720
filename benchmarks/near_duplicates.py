"""How long `near_duplicate_pairs` takes for up to a million posts, its memory, and what it finds of what was planted.

python benchmarks/near_duplicates.py [--quick]

The posts are synthetic: about 100 characters of random words from made-up vocabularies in Latin, Cyrillic and Arabic
letters, one in ten of them a copy of another post with one to three small edits. Prints per size the seconds, rows per
second, the process's peak memory (posts included), recall (the share of copies whose 4-gram Jaccard similarity to
their original is at least 0.8 that end up in its group), precision (the share of the returned pairs that are that
similar, counted here again) and, last, one line of JSON.

What the figures are not: real posts share templates and stock phrases, so more of their pairs must be compared.
"""

import argparse
import json
import multiprocessing
import random
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # or `data_prep` would be the benchmark of that name

from data_prep.near_duplicates import near_duplicate_pairs  # noqa: E402

THRESHOLD = 0.8
ALPHABETS = ("abcdefghijklmnopqrstuvwxyz", "абвгдежзийклмнопрстуфхцчшщыэюя", "ابپتجچخدذرزسشصضطعغفقکگلمنوہی")


def vocabulary(generator: random.Random, alphabet: str, size: int = 20_000) -> list[str]:
    """Made-up words of two to ten letters."""
    return ["".join(generator.choices(alphabet, k=generator.randint(2, 10))) for _ in range(size)]


def edited(generator: random.Random, text: str, words: list[str]) -> str:
    """A copy with one to three small edits: a word put in, left out or replaced, a letter dropped or repeated."""
    parts = text.split()
    for _ in range(generator.randint(1, 3)):
        place = generator.randrange(len(parts))
        match generator.choice(("insert", "omit", "replace", "drop", "repeat")):
            case "insert":
                parts.insert(place, generator.choice(words))
            case "omit" if len(parts) > 1:
                del parts[place]
            case "replace":
                parts[place] = generator.choice(words)
            case "drop":
                parts[place] = parts[place][1:] or parts[place]
            case _:
                parts[place] += parts[place][-1]
    return " ".join(parts)


def synthetic_posts(count: int, seed: int = 0) -> tuple[list[str], list[tuple[int, int]]]:
    """Shuffled posts, and for each planted copy the pair (original, copy)."""
    generator = random.Random(seed)
    vocabularies = [vocabulary(generator, alphabet) for alphabet in ALPHABETS]
    places = generator.sample(range(count), count)  # where the shuffled posts go
    texts = [""] * count
    planted = []
    originals = count - count // 10
    for number, place in enumerate(places):
        words = vocabularies[number % len(vocabularies)]
        if number < originals:
            texts[place] = " ".join(generator.choices(words, k=generator.randint(10, 18)))
        else:
            source = generator.randrange(number % len(vocabularies), originals, len(vocabularies))
            texts[place] = edited(generator, texts[places[source]], words)
            planted.append((places[source], place))
    return texts, planted


def similar(a: str, b: str) -> bool:
    """Whether the 4-grams overlap enough, counted without the code under test."""
    one, other = ({text[start : start + 4] for start in range(len(text) - 3)} for text in (a, b))
    return len(one & other) >= THRESHOLD * len(one | other)


def measure(count: int) -> dict[str, float]:
    """One row of the table."""
    texts, planted = synthetic_posts(count)
    started = time.perf_counter()
    pairs = near_duplicate_pairs(texts, THRESHOLD)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    left, right = zip(*pairs, strict=True)
    _, group = connected_components(coo_array(([True] * len(pairs), (left, right)), shape=(count, count)), directed=False)
    wanted = [(a, b) for a, b in planted if similar(texts[a], texts[b])]
    return {
        "posts": count,
        "characters": round(sum(map(len, texts)) / count, 1),
        "seconds": round(seconds, 1),
        "rows_per_second": round(count / seconds),
        "peak_gib": round(peak, 2),
        "planted": len(wanted),
        "recall": round(sum(group[a] == group[b] for a, b in wanted) / len(wanted), 5),
        "pairs": len(pairs),
        "precision": round(sum(similar(texts[a], texts[b]) for a, b in pairs) / len(pairs), 5),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without the million posts")
    sizes = [10_000, 100_000] if parser.parse_args().quick else [10_000, 100_000, 1_000_000]
    columns = ("posts", "characters", "seconds", "rows_per_second", "peak_gib", "planted", "recall", "pairs", "precision")
    print("".join(f"{column:>17}" for column in columns))
    results = []
    for size in sizes:
        # A fresh process each, as peak memory never goes down again.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            results.append(pool.submit(measure, size).result())
        print("".join(f"{results[-1][column]:>17,}" for column in columns), flush=True)
    print(json.dumps({"threshold": THRESHOLD, "results": results}))


if __name__ == "__main__":
    main()
