"""Whether the fast training ends as well as the stock one: both to the end, on the same rows, with several seeds.

python benchmarks/train_quality.py [--data data/research] [--out runs/train_quality] [--seeds 1 2 3] [--rows 250] [--quick]

(a) is `transformers.Trainer` as its examples use it (batches of 48 rows padded to 128 tokens, float32, full vocabulary, its
default learning rate of 5e-5), (c) this project with the defaults of configs/; three epochs each of the packaged encoder.
One head, violence_glorification, so that (a), which has no mask, is not given labels that nobody gave. The rows are, of every
source, at most --rows positives and as many negatives of the training split. Each model's threshold is the one with the best
F1 on at most 200 validation rows of each language; macro-F1 is the mean over the languages of the F1 on at most 500 test rows
of each. Finished trainings are kept in <out>, so the command can be stopped and repeated. The last line is JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score
from transformers import set_seed

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[0] = str(REPOSITORY)

from benchmarks.train_speed import stock_trainer  # noqa: E402
from data_prep.files import read_json, write_json  # noqa: E402
from data_prep.table import load_examples  # noqa: E402
from train.encoder import PAD, load_encoder, trim_vocabulary  # noqa: E402
from train.model import build_classifier  # noqa: E402
from train.prediction import predict_logits  # noqa: E402
from train.selection import select_split  # noqa: E402
from train.settings import EncoderSettings, TrainerSettings  # noqa: E402
from train.stage import run_trainer  # noqa: E402
from train.tokenised import TokenisedRows, collate  # noqa: E402
from train.trainer import build_trainer  # noqa: E402

HEAD = "violence_glorification"
VALIDATION_ROWS, TEST_ROWS = 200, 500  # of a language


def sample(table: Dataset, by: str, positives: int, negatives: int) -> Dataset:
    """At most so many rows of each class of every source or language, always the same ones."""
    groups, labels = np.asarray(table[by]), np.asarray(table[HEAD])
    order = np.random.default_rng(0).permutation(len(table))
    kept = []
    for group in np.unique(groups):
        for label, most in ((1, positives), (0, negatives)):
            kept.append(order[(groups[order] == group) & (labels[order] == label)][:most])
    return table.select(np.sort(np.concatenate(kept)))


def train_stock(parts: dict[str, Dataset], seed: int, epochs: float) -> dict[str, np.ndarray[Any, Any]]:
    """Logits of (a) for the validation and test rows."""
    set_seed(seed)
    encoder = load_encoder(EncoderSettings(name="bench", kind="packaged"))
    order = np.random.default_rng(seed).permutation(len(parts["train"]))
    rows = {
        name: TokenisedRows(table, encoder.tokenizer, [HEAD]) for name, table in {**parts, "train": parts["train"].select(order)}.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        options = {"num_train_epochs": epochs, "learning_rate": 5e-5, "seed": seed}
        trainer, model, _ = stock_trainer("padded", encoder, rows["train"], [HEAD], Path(folder), rows_per_step=48, **options)
        trainer.train()
    model.eval()
    return {name: stock_logits(model, rows[name]) for name in ("validation", "test")}


@torch.inference_mode()
def stock_logits(model: Any, rows: TokenisedRows) -> np.ndarray[Any, Any]:
    """The model's logit of every row, in the rows' order."""
    found = np.empty(len(rows), dtype=np.float32)
    order = np.argsort(rows.lengths)
    for start in range(0, len(order), 64):
        batch = order[start : start + 64]
        inputs = collate([rows[index] for index in batch])
        ids = inputs["input_ids"].to(model.device)
        found[batch] = model(input_ids=ids, attention_mask=(ids != PAD).long()).logits[:, 0].float().cpu().numpy()
    return found


def train_project(parts: dict[str, Dataset], seed: int, epochs: float) -> dict[str, np.ndarray[Any, Any]]:
    """Logits of (c) for the validation and test rows."""
    set_seed(seed)
    encoder = trim_vocabulary(load_encoder(EncoderSettings(name="bench", kind="packaged")), list(parts["train"]["text"]), 20_000)
    model = build_classifier(encoder, [HEAD], "mean", 0.1)
    rows = {name: TokenisedRows(table, encoder.tokenizer, [HEAD]) for name, table in parts.items()}
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainerSettings(epochs=epochs, seed=seed, trackers=[])
        trainer = build_trainer(model, rows["train"], list(parts["train"]["source"]), rows["validation"], settings, Path(folder))
        run_trainer(trainer, Path(folder))
    model.set_attn_implementation("sdpa")
    return {name: predict_logits(model, rows[name])[0][:, 0] for name in ("validation", "test")}


def judge(parts: dict[str, Dataset], logits: dict[str, np.ndarray[Any, Any]]) -> dict[str, float]:
    """Macro figures over the languages of the test rows, at the threshold that is best on validation."""
    precision, recall, thresholds = precision_recall_curve(np.asarray(parts["validation"][HEAD]), logits["validation"])
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    threshold = thresholds[int(f1[:-1].argmax())]
    truth, spoken = np.asarray(parts["test"][HEAD]), np.asarray(parts["test"]["language"])
    figures: dict[str, list[float]] = {"macro_f1": [], "macro_auroc": [], "macro_auprc": []}
    for language in np.unique(spoken):
        here = spoken == language
        if 0 < truth[here].sum() < here.sum():
            figures["macro_f1"].append(f1_score(truth[here], logits["test"][here] >= threshold))
            figures["macro_auroc"].append(roc_auc_score(truth[here], logits["test"][here]))
            figures["macro_auprc"].append(average_precision_score(truth[here], logits["test"][here]))
    return {name: round(float(np.mean(values)), 4) for name, values in figures.items()}


def main() -> None:
    """Train what is missing, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data" / "research")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "runs" / "train_quality")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rows", type=int, default=250, help="training rows of a source and class")
    parser.add_argument("--quick", action="store_true", help="a handful of rows and steps, to see that it works")
    arguments = parser.parse_args()
    most, validated, tested, epochs = (8, 20, 20, 0.5) if arguments.quick else (arguments.rows, VALIDATION_ROWS // 2, TEST_ROWS // 2, 3.0)
    table = load_examples(arguments.data)
    splits = {name: select_split(table, name, [HEAD]) for name in ("train", "validation", "test")}
    parts = {
        "train": sample(splits["train"], "source", most, most),
        "validation": sample(splits["validation"], "language", validated, validated),
        "test": sample(splits["test"], "language", tested, tested),
    }
    print(", ".join(f"{len(part)} {name} rows" for name, part in parts.items()), flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept = arguments.out / f"rows{most}.json"
    results: dict[str, dict[str, float]] = read_json(kept) if kept.is_file() else {}
    for seed in arguments.seeds:
        for name, training in (("project", train_project), ("stock", train_stock)):
            if f"{name}/{seed}" not in results:
                started = time.monotonic()
                figures = judge(parts, training(parts, seed, epochs))
                results[f"{name}/{seed}"] = {**figures, "seconds": round(time.monotonic() - started)}
                write_json(kept, results)
            print(f"{name}, seed {seed}: {results[f'{name}/{seed}']}", flush=True)
    means = {name: np.mean([results[f"{name}/{seed}"]["macro_f1"] for seed in arguments.seeds]) for name in ("project", "stock")}
    print(json.dumps({"macro_f1_difference": round(float(means["project"] - means["stock"]), 4), "results": results}))


if __name__ == "__main__":
    main()
