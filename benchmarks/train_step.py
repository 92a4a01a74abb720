"""What one training step costs with and without encoder dropout and the fused attention kernel.

python benchmarks/train_step.py [--quick]

Times forward, backward and update of the packaged encoder's shapes with random weights (22M parameters without
embeddings, 45,000 pieces, bfloat16 autocast) on random ids. Prints a table of tokens per second and, last, one line
of JSON with the ratio of the project's setting to the stock one.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from transformers import XLMRobertaConfig

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # or `data_prep` would be the benchmark of that name

from train.loss import masked_bce  # noqa: E402
from train.model import ClassifierConfig, MultiHeadClassifier  # noqa: E402

SHAPE = {
    "vocab_size": 45_000, "hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 1536,
    "max_position_embeddings": 514, "type_vocab_size": 1,
}  # fmt: skip


def tokens_per_second(dropout: float, attention: str, rows: int, length: int, steps: int) -> float:
    """The fastest of `steps` steps, after one for warming up."""
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
    return rows * length / min(seconds[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two timed steps instead of eight")
    steps = 2 if parser.parse_args().quick else 8
    print(f"{'rows x length':<15}{'dropout':>9}{'attention':>11}{'tokens/s':>10}")
    measured = {}
    for rows, length in ((64, 32), (16, 128)):
        for dropout, attention in ((0.1, "sdpa"), (0.0, "sdpa"), (0.0, "eager")):
            measured[rows, dropout, attention] = tokens_per_second(dropout, attention, rows, length, steps)
            print(f"{f'{rows} x {length}':<15}{dropout:>9}{attention:>11}{measured[rows, dropout, attention]:>10.0f}", flush=True)
    ratios = {f"{rows}_rows": round(measured[rows, 0.0, "eager"] / measured[rows, 0.1, "sdpa"], 3) for rows in (64, 16)}
    print(json.dumps({"project_vs_stock": ratios}))


if __name__ == "__main__":
    main()
