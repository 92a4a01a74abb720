"""How fast this project fine-tunes, against `transformers.Trainer` as its examples use it, on the same rows and encoder.

python benchmarks/train_speed.py [--quick] [--data data/research] [--encoder NAME] [--shapes xlmr_base] [--rows N] [--rows-per-step N]

Trains the packaged encoder (or another, by its hub name or folder) on the same rows of a prepared mixture's training split
(default: data/sample, prepared if missing), 48 rows a step on average, each variant in a process of its own:

    padded     stock Trainer, all rows padded to 128 tokens, float32, full vocabulary
    dynamic    stock Trainer, batches padded to their longest row, bfloat16, full vocabulary
    project    this project: trimmed vocabulary, batches of similar length by a budget of tokens, bfloat16; on a GPU packed
               without padding, and its layers compiled

`--shapes xlmr_base` gives the encoder XLM-R base's shapes, with random weights; a GPU wants these, and some hundred rows a
step. The first steps of each variant are for warming up. Prints rows and real tokens (no padding) per second, peak memory, FLOP
utilisation (6 FLOPs a parameter outside the embeddings and real token, plus attention, against the fastest measured matrix
product), where the project's time goes, and, last, one line of JSON with the ratios.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[0] = str(REPOSITORY)

WARM_UP = 4  # steps; twice as many on a GPU, whose first ones compile
VARIANTS = ("padded", "dynamic", "project")
XLMR_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}


def main() -> None:
    """Run each variant in its process, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data" / "sample")
    parser.add_argument("--encoder", default="packaged")
    parser.add_argument("--shapes", choices=("own", "xlmr_base"), default="own")
    parser.add_argument("--rows", type=int, default=768)
    parser.add_argument("--rows-per-step", type=int, default=48)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS, help="leave some out")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        print(json.dumps(measure(arguments)))
        return
    if not (arguments.data / "manifest.json").is_file() and arguments.data == REPOSITORY / "data" / "sample":
        subprocess.run([sys.executable, "-m", "data_prep"], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    results: dict[str, Any] = {}
    print(f"{'':10}{'rows/s':>9}{'tokens/s':>10}{'padding':>9}{'peak GiB':>10}{'of peak FLOP/s':>16}")
    for variant in arguments.variants:
        command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        *profile, last = done.stdout.strip().splitlines()
        results[variant] = found = json.loads(last)
        print(
            f"{variant:10}{found['rows_per_s']:9.1f}{found['tokens_per_s']:10,.0f}{found['padding']:9.1%}{found['peak_gib']:10.2f}"
            f"{found['flop_utilisation']:16.1%}",
            flush=True,
        )
    print("\nwhere the project's time goes:", *profile, sep="\n  ")
    project = results["project"]
    summary = {
        name: round(project["rows_per_s"] / results[variant]["rows_per_s"], 2)
        for name, variant in (("vs_stock_padded", "padded"), ("vs_stock_dynamic_bf16", "dynamic"))
        if variant in results
    }
    if "padded" in results:
        summary["memory_ratio"] = round(project["peak_gib"] / results["padded"]["peak_gib"], 3)
    summary["flop_utilisation"] = round(project["flop_utilisation"], 3)
    setting = {name: str(getattr(arguments, name)) for name in ("encoder", "shapes", "data", "rows_per_step")}
    print(json.dumps({**summary, **setting, "device": project["device"], "results": results}))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one variant and report its costs; the profile of the project's steps is printed before."""
    import numpy as np
    import torch
    from transformers import TrainerCallback, set_seed

    from data_prep.table import load_examples
    from train.encoder import load_encoder, trim_vocabulary
    from train.model import build_classifier
    from train.selection import select_split
    from train.settings import EncoderSettings, SamplingSettings, TrainerSettings
    from train.tokenised import TokenisedRows
    from train.trainer import build_trainer

    set_seed(1)
    variant, rows = arguments.variant, 256 if arguments.quick else arguments.rows
    packaged, own = arguments.encoder == "packaged", arguments.shapes == "own"
    kind, path = ("packaged", None) if packaged else ("hub", arguments.encoder)
    encoder = load_encoder(EncoderSettings(name="bench", kind=kind, path=path, pretrained=own))
    if not own:
        encoder = _with_shapes(encoder, XLMR_BASE)
    table = select_split(load_examples(arguments.data), "train", ["propaganda", "violence_glorification"])
    everything = list(table["text"])
    table = table.select(np.random.default_rng(1).permutation(len(table))[:rows])
    heads = ["propaganda", "violence_glorification"]
    if variant == "project":
        encoder = trim_vocabulary(encoder, everything, 20_000)
    items = TokenisedRows(table, encoder.tokenizer, heads)
    real = int(items.lengths.sum())

    ends: list[float] = []
    warm_up = 2 * WARM_UP if torch.cuda.is_available() else WARM_UP

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            if torch.cuda.is_available() and len(ends) == warm_up - 1:  # later steps need not wait for the GPU
                torch.cuda.synchronize()
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        if variant == "project":
            budget = round(arguments.rows_per_step * real / len(items))
            settings = TrainerSettings(
                epochs=3, trackers=[], sampling=SamplingSettings(tokens_per_batch=budget), compile=torch.cuda.is_available()
            )
            model = build_classifier(encoder, heads, "mean", 0.1)
            trainer: Any = build_trainer(model, items, ["a"] * len(items), _first(items, 32), settings, Path(folder))
            trainer.args.eval_strategy = trainer.args.save_strategy = "no"
            trainer.args.load_best_model_at_end = False
            batches = [batch for epoch in range(3) for batch in trainer.sampler._batches(epoch)]
        else:
            trainer, model, batches = stock_trainer(variant, encoder, items, heads, Path(folder), arguments.rows_per_step)
        trainer.add_callback(Clock())
        trainer.train()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            ends[-1] = time.perf_counter()
        measured = [index for batch in batches[warm_up : len(ends)] for index in batch]
        seconds = ends[-1] - ends[warm_up - 1]
        tokens = float(items.lengths[measured].sum())
        padded = sum(len(batch) * (128 if variant == "padded" else items.lengths[batch].max()) for batch in batches[warm_up : len(ends)])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated() / 2**30
        if variant == "project":
            _print_profile(trainer)
    config = model.config
    per_layer = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    attention = 2 * config.hidden_size * float((items.lengths[measured] ** 2).sum()) / tokens
    flops = 6 * config.num_hidden_layers * (per_layer + attention) * tokens
    return {
        "rows_per_s": len(measured) / seconds,
        "tokens_per_s": tokens / seconds,
        "padding": 1 - tokens / float(padded),
        "peak_gib": peak,
        "flop_utilisation": flops / seconds / _matmul_peak(),
        "steps": len(ends),
        "rows_per_step": len(measured) / (len(ends) - warm_up),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} processor cores",
    }


def stock_trainer(
    variant: str, encoder: Any, items: Any, heads: list[str], folder: Path, rows_per_step: int, **options: Any
) -> tuple[Any, Any, list[list[int]]]:
    """What `run_classification.py` does: a Trainer over rows in random order; unjudged labels become 0, as there is no mask."""
    import torch
    from torch.utils.data import SequentialSampler
    from transformers import Trainer, TrainingArguments, XLMRobertaForSequenceClassification

    from train.encoder import PAD
    from train.trainer import computes_in_bf16

    config = encoder.model.config
    config.num_labels, config.problem_type = len(heads), "multi_label_classification"
    model = XLMRobertaForSequenceClassification(config)
    model.roberta.load_state_dict(encoder.model.state_dict(), strict=False)

    def collate(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = 128 if variant == "padded" else max(len(item["input_ids"]) for item in batch)
        ids = torch.full((len(batch), longest), PAD)
        for row, item in enumerate(batch):
            ids[row, : len(item["input_ids"])] = torch.tensor(item["input_ids"])
        labels = torch.tensor([item["labels"] for item in batch]).clamp(min=0).float()
        return {"input_ids": ids, "attention_mask": (ids != PAD).long(), "labels": labels}

    class InOrder(Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, *args: Any) -> Any:
            return SequentialSampler(items)  # the rows are in random order already, and which batch is which must be known

    arguments = TrainingArguments(
        **{"num_train_epochs": 1, "learning_rate": 2e-5, **options}, output_dir=str(folder), report_to=[],
        per_device_train_batch_size=rows_per_step, bf16=variant == "dynamic" and computes_in_bf16(None),
        use_cpu=not torch.cuda.is_available(), save_strategy="no", disable_tqdm=True, logging_strategy="no",
        remove_unused_columns=False, label_names=["labels"],
    )  # fmt: skip
    batches = [list(range(start, min(start + rows_per_step, len(items)))) for start in range(0, len(items), rows_per_step)]
    return InOrder(model=model, args=arguments, train_dataset=items, data_collator=collate), model, batches


def _with_shapes(encoder: Any, shape: dict[str, int]) -> Any:
    from transformers import XLMRobertaConfig, XLMRobertaModel

    from train.encoder import Encoder

    config = XLMRobertaConfig(**{**encoder.model.config.to_dict(), **shape})
    return Encoder(XLMRobertaModel(config, add_pooling_layer=False), encoder.pieces, encoder.max_length)


def _first(items: Any, count: int) -> Any:
    import copy

    few = copy.copy(items)
    few.ids, few.labels, few.lengths, few.languages = (part[:count] for part in (items.ids, items.labels, items.lengths, items.languages))
    return few


def _matmul_peak() -> float:
    """The fastest of some bfloat16 (or float32, where there is no bfloat16) matrix products, in FLOP/s."""
    import torch

    from train.trainer import computes_in_bf16

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if computes_in_bf16(None) else torch.float32
    size = 8192 if device == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(10):
        started = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def _print_profile(trainer: Any) -> None:
    """Train some more steps under torch's profiler and print the operators with the most time of their own."""
    import contextlib

    import torch
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    from train.trainer import compiled_layers

    trainer.model.train()
    optimiser = trainer.optimizer
    loader = iter(trainer.get_train_dataloader())
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    compiled = compiled_layers(trainer.model) if trainer.settings.compile else contextlib.nullcontext()
    with compiled, profile(activities=activities) as profiled:
        started = time.perf_counter()
        for _ in range(5):
            trainer.training_step(trainer.model, next(loader))
            optimiser.step()
            optimiser.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    key = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    # on a GPU the kernels alone: the operators that start them would count their time once more
    counted = [found for found in profiled.key_averages() if not torch.cuda.is_available() or found.device_type == DeviceType.CUDA]
    total = sum(getattr(found, key) for found in counted)
    if torch.cuda.is_available():
        print(f"the GPU is at work {total / 1e6 / seconds:.0%} of the time")
    for found in sorted(counted, key=lambda found: -getattr(found, key))[:12]:
        print(f"{getattr(found, key) / total:6.1%}  {found.key[:100]}")


if __name__ == "__main__":
    main()
