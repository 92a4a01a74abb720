"""What serving a release costs: its variants through the reference client, beside the model as it would run in PyTorch.

python benchmarks/serving.py release=releases/demo [--data data/sample] [--texts 600] [--quick]

Scores the same texts (the mixture's test rows, drawn at random, so with their real lengths) with

    torch        PyTorch float32, eager attention, the encoder as it was published: with its full vocabulary and all its layers
    torch alike  the same in the artifact's shape, where its encoder has fewer layers or was pruned
    fp32         the artifact's float32 ONNX graph
    int8         its 8-bit graph

in batches of similar length (PyTorch's of its best size, the graphs' of the client's), tokenisation included, each in two ways: batch
after batch with a thread for every core, and as many batches as there are cores side by side with a thread each; in turns, the best of
ten rounds. The ratios are those of each one's faster way. Then texts one by one through int8, for the latency. `size_ratio` is the
int8 graph and its tokenizer over the published encoder's float32 weights and tokenizer. The last line is JSON; `int8_vs_torch_alike`
there is against PyTorch in the artifact's shape.
"""

import argparse
import functools
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import XLMRobertaModel

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[0] = str(REPOSITORY)

from data_prep.files import read_json  # noqa: E402
from data_prep.table import load_examples  # noqa: E402
from export.client import CORES  # noqa: E402
from train.encoder import load_encoder  # noqa: E402
from train.encoding import encode  # noqa: E402
from train.model import build_classifier  # noqa: E402
from train.pruning import first_heads  # noqa: E402
from train.sampling import batch_by_tokens  # noqa: E402
from train.settings import EncoderSettings  # noqa: E402
from train.tokenised import collate  # noqa: E402

TOKENS_PER_BATCH = 512  # PyTorch's; of 128, 256, 512 and 1,024 the fastest, by a little
IN_TURN, SIDE_BY_SIDE = WAYS = ("in turn", "side by side")
ROUNDS = 10  # int8's speed halved for seconds at a time where nothing else ran, float32's fell by less


def load_client(artifact: Path) -> Any:
    """The module `predict.py` of the artifact."""
    found = importlib.util.spec_from_file_location("predict", artifact / "predict.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


Scorer = Callable[[list[str]], object]


def torch_scorers(
    heads: list[str], max_length: int, layers: int | None = None, feed_forward: int | None = None, attention_heads: int | None = None
) -> tuple[dict[str, Scorer], int]:
    """What scores texts with PyTorch, and the bytes of its weights and tokenizer; what the weights are does not change the cost."""
    encoder = load_encoder(EncoderSettings(name="full", kind="packaged", max_length=max_length, layers=layers))
    tokenizer = encoder.tokenizer
    if feed_forward is not None:
        encoder.model.config.intermediate_size = feed_forward
        encoder.model = XLMRobertaModel(encoder.model.config, add_pooling_layer=False)
    if attention_heads is not None:
        first_heads(encoder.model, attention_heads)
        encoder.model.config.attention_heads = attention_heads
    model = build_classifier(encoder, heads, "mean", 0.0).eval().float()
    model.set_attn_implementation("eager")

    pools = {IN_TURN: ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(CORES,))}
    pools[SIDE_BY_SIDE] = ThreadPoolExecutor(CORES, initializer=torch.set_num_threads, initargs=(1,))

    def score(texts: list[str], pool: ThreadPoolExecutor) -> None:
        ids = encode(texts, tokenizer)
        lengths = np.asarray([len(row) for row in ids])

        @torch.inference_mode()
        def run(batch: list[int]) -> None:
            inputs = collate([{"input_ids": ids[index].tolist(), "labels": [0] * len(heads), "language": 0} for index in batch])
            model(inputs["input_ids"], inputs["attention_mask"])

        list(pool.map(run, batch_by_tokens(np.argsort(lengths, kind="stable"), lengths, TOKENS_PER_BATCH)))

    size = sum(parameter.numel() * 4 for parameter in model.parameters()) + len(tokenizer.to_str().encode())
    return {way: functools.partial(score, pool=pool) for way, pool in pools.items()}, size


def draw_test_posts(data: Path, count: int) -> list[str]:
    """So many test texts of a prepared mixture, or all that there are, drawn at random and always alike."""
    table = load_examples(data)
    texts = np.asarray(table["text"], dtype=object)[np.asarray(table["split"]) == "test"]
    posts: list[str] = texts[np.random.default_rng(0).permutation(len(texts))[:count]].tolist()
    return posts


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", help="a release's folder, or release=<folder>")
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data" / "sample")
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--quick", action="store_true", help="few texts")
    arguments = parser.parse_args()
    artifact = Path(arguments.release.removeprefix("release=")) / "artifact"
    posts = draw_test_posts(arguments.data, 60 if arguments.quick else arguments.texts)

    client = load_client(artifact)
    classifiers = {
        (name, way): client.Classifier(artifact, name, workers)
        for name in ("fp32", "int8")
        for way, workers in ((IN_TURN, 1), (SIDE_BY_SIDE, CORES))
    }
    soonest = classifiers["int8", IN_TURN]
    contract = soonest.contract
    encoder = read_json(artifact / "training.json")["settings"]["encoder"]
    shape = [encoder.get(part) for part in ("layers", "feed_forward", "attention_heads")]
    alike = "torch alike" if any(shape) else "torch"
    scorers: dict[tuple[str, str], Scorer] = {}
    sizes = {}
    for name, kept in {"torch": [], alike: shape}.items():
        with_torch, sizes[name] = torch_scorers(contract["heads"], contract["max_length"], *kept)
        scorers |= {(name, way): score for way, score in with_torch.items()}
    scorers |= {key: classifier.run for key, classifier in classifiers.items()}
    for scorer in scorers.values():
        scorer(posts[:32])  # to warm up
    best = dict.fromkeys(scorers, float("inf"))
    for _ in range(ROUNDS):
        for key, scorer in scorers.items():
            started = time.perf_counter()
            scorer(posts)
            best[key] = min(best[key], time.perf_counter() - started)
    latencies = []
    for post in posts:
        started = time.perf_counter()
        soonest.run([post])
        latencies.append(1000 * (time.perf_counter() - started))

    tokens = [len(ids) for ids in soonest.encode(posts)]
    files = {name: artifact / contract["variants"][name]["file"] for name in ("fp32", "int8")}
    tokenizer_size = (artifact / "tokenizer.json").stat().st_size
    sizes |= {name: file.stat().st_size + tokenizer_size for name, file in files.items()}
    print(f"{len(posts)} texts, {np.mean(tokens):.0f} tokens on average, {max(tokens)} at most; {CORES} cores; texts a second")
    print(f"{'':12}{IN_TURN:>14}{SIDE_BY_SIDE:>14}{'MiB':>8}")
    for name, size in sizes.items():
        print(f"{name:12}" + "".join(f"{len(posts) / best[name, way]:14.1f}" for way in WAYS) + f"{size / 2**20:8.1f}")
    fastest = {name: min(best[name, way] for way in WAYS) for name in sizes}
    summary = {
        "int8_vs_torch": round(fastest["torch"] / fastest["int8"], 2),
        "int8_vs_torch_alike": round(fastest[alike] / fastest["int8"], 2),
        "int8_vs_onnx_fp32": round(fastest["fp32"] / fastest["int8"], 2),
        "size_ratio": round(sizes["int8"] / sizes["torch"], 4),
        "p50_ms": round(float(np.percentile(latencies, 50)), 2),
        "p99_ms": round(float(np.percentile(latencies, 99)), 2),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
