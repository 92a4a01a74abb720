"""Where the time of serving goes: by the size of the batches, and by the graphs' operators.

python benchmarks/serving_profile.py release=releases/demo [--data data/sample] [--texts 400] [--quick]

Scores the texts of benchmarks/serving.py with the artifact's client, tokenisation included, a batch and a thread for each core side by
side, in batches of several sizes in turn; texts a second, the best of six rounds. Then once on one thread under onnxruntime's profiler, in
batches of the client's size: milliseconds in each operator. The last line is JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import onnxruntime

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[0] = str(REPOSITORY)

from benchmarks.serving import draw_test_posts, load_client  # noqa: E402
from export.client import CORES  # noqa: E402

SIZES = (128, 192, 256, 384, 512, 1024)  # tokens in a batch
VARIANTS = ("fp32", "int8")


def texts_per_second(classifiers: dict[str, Any], posts: list[str], rounds: int) -> dict[str, dict[int, float]]:
    """By variant and batch size; the sizes take turns, because cores are not always equally fast."""
    best = {name: dict.fromkeys(SIZES, 0.0) for name in classifiers}
    for _ in range(rounds):
        for name, classifier in classifiers.items():
            for size in SIZES:
                classifier.tokens_per_batch = size
                started = time.perf_counter()
                classifier.run(posts)
                best[name][size] = max(best[name][size], len(posts) / (time.perf_counter() - started))
    return best


def milliseconds_by_operator(classifier: Any, graph: Path, posts: list[str], tokens_per_batch: int) -> Counter[str]:
    """What scoring the posts on one thread spends in each operator of the graph, by onnxruntime's profiler."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        classifier.session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        classifier.tokens_per_batch = tokens_per_batch
        classifier.run(posts)  # to warm up, before the profiler
        options.enable_profiling, options.profile_file_prefix = True, f"{folder}/profile"
        classifier.session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        classifier.run(posts)
        events = json.loads(Path(classifier.session.end_profiling()).read_text(encoding="utf-8"))
    spent: Counter[str] = Counter()
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    return Counter({operator: microseconds / 1000 for operator, microseconds in spent.items()})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", help="a release's folder, or release=<folder>")
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data" / "sample")
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--quick", action="store_true", help="few texts, one round")
    arguments = parser.parse_args()
    artifact = Path(arguments.release.removeprefix("release=")) / "artifact"
    posts = draw_test_posts(arguments.data, 60 if arguments.quick else arguments.texts)
    client = load_client(artifact)
    classifiers = {name: client.Classifier(artifact, name, CORES) for name in VARIANTS}
    own_size = classifiers["int8"].tokens_per_batch
    speeds = texts_per_second(classifiers, posts, 1 if arguments.quick else 6)
    print(f"{len(posts)} texts, {CORES} cores, texts a second by tokens in a batch")
    print(f"{'':8}" + "".join(f"{size:8}" for size in SIZES))
    for name, by_size in speeds.items():
        print(f"{name:8}" + "".join(f"{speed:8.1f}" for speed in by_size.values()))
    spent = {}
    for name in VARIANTS:
        alone = client.Classifier(artifact, name, 1)
        graph = artifact / alone.contract["variants"][name]["file"]
        spent[name] = milliseconds_by_operator(alone, graph, posts, own_size)
        print(f"\n{name}, one thread: {spent[name].total():.0f} ms in all")
        for operator, milliseconds in spent[name].most_common(12):
            print(f"  {operator:32}{milliseconds:8.0f} ms {milliseconds / spent[name].total():7.1%}")
    summary = {
        "texts_per_second": speeds,
        "milliseconds": {name: {key: round(ms, 1) for key, ms in by.items()} for name, by in spent.items()},
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
