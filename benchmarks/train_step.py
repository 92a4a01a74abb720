"""What one training step costs with and without encoder dropout, the fused attention kernel, and memory that is kept between steps.

python benchmarks/train_step.py [--quick]

Times forward, backward and update of the packaged encoder's shapes with random weights (22M parameters without
embeddings, 45,000 pieces, bfloat16 autocast) on random ids. Prints a table of tokens per second and, last, one line
of JSON with the ratio of the project's setting to the stock one.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from transformers import XLMRobertaConfig

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # or `data_prep` would be the benchmark of that name

from train.loss import masked_bce  # noqa: E402
from train.memory import keep_freed_memory  # noqa: E402
from train.model import ClassifierConfig, MultiHeadClassifier  # noqa: E402

SHAPE = {
    "vocab_size": 45_000, "hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 1536,
    "max_position_embeddings": 514, "type_vocab_size": 1,
}  # fmt: skip

SIZES = ((64, 32), (16, 128))  # rows, tokens in each
VARIANTS = ((0.1, "sdpa", "freed"), (0.0, "sdpa", "freed"), (0.0, "eager", "freed"), (0.0, "eager", "kept"))  # from stock to the project's


def tokens_per_second(dropout: float, attention: str, rows: int, length: int, steps: int) -> float:
    """The median of `steps` steps, after one for warming up."""
    torch.manual_seed(0)
    config = XLMRobertaConfig(**SHAPE, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout).to_dict()
    config.pop("model_type")
    model = MultiHeadClassifier._from_config(ClassifierConfig(**config, heads=["a", "b"]), attn_implementation=attention).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    ids = torch.randint(5, SHAPE["vocab_size"], (rows, length))
    labels = torch.randint(0, 2, (rows, 2))
    seconds = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(ids, torch.ones_like(ids)).logits
        masked_bce(logits.float(), labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        seconds.append(time.perf_counter() - started)
    return rows * length / statistics.median(seconds[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two timed steps instead of eight")
    steps = 2 if parser.parse_args().quick else 8
    print(f"{'rows x length':<15}{'dropout':>9}{'attention':>11}{'memory':>9}{'tokens/s':>10}")
    measured = {}
    for variant in VARIANTS:
        dropout, attention, memory = variant
        if memory == "kept":
            keep_freed_memory()  # for good, so it comes last
        for rows, length in SIZES:
            measured[rows, variant] = tokens_per_second(dropout, attention, rows, length, steps)
            print(f"{f'{rows} x {length}':<15}{dropout:>9}{attention:>11}{memory:>9}{measured[rows, variant]:>10.0f}", flush=True)
    ratios = {f"{rows}_rows": round(measured[rows, VARIANTS[-1]] / measured[rows, VARIANTS[0]], 3) for rows, _ in SIZES}
    print(json.dumps({"project_vs_stock": ratios}))


if __name__ == "__main__":
    main()
