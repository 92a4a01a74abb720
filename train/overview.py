"""What a look shows sooner than a log: a run's curves as a picture, and a page that lists all runs."""

import io
from collections import defaultdict
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt

from data_prep.files import read_json, write_bytes, write_text
from train.labels import MASKED
from train.policy import Policy

matplotlib.use("Agg")
from matplotlib.figure import Figure

LANGUAGE_COLOURS = ("#0b6e8f", "#b7791f", "#b42318", "#5b7f3a", "#7a4b9a", "#c2557a")
LABELLED = 6  # languages named in the plot: the lowest at the end, which are the ones to look at


def plot_run(folder: Path, log: list[dict[str, Any]], best_metric: str) -> None:
    """Write `report.png`: training and validation loss, the learning rate, and the metric's curve of every language."""
    metric = "auprc" if best_metric == "loss" else best_metric.partition("_")[2]
    training = [entry for entry in log if "loss" in entry]
    evaluations = [entry for entry in log if "eval_loss" in entry]
    figure = Figure(figsize=(12, 4), layout="constrained")
    losses, languages = figure.subplots(1, 2, width_ratios=(2, 3))
    losses.plot([entry["step"] for entry in training], [entry["loss"] for entry in training], color="#9aa5b1", label="training loss")
    losses.plot(
        [entry["step"] for entry in evaluations],
        [entry["eval_loss"] for entry in evaluations],
        "o-",
        color="#0b6e8f",
        label="validation loss",
    )
    rates = losses.twinx()
    rates.plot(
        [entry["step"] for entry in training], [entry["learning_rate"] for entry in training], ":", color="#b7791f", label="learning rate"
    )
    rates.tick_params(axis="y", colors="#b7791f")
    rates.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    losses.set(title="loss (the dotted line is the learning rate)", xlabel="step", ylim=(0, None))
    losses.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2, frameon=False)

    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for entry in evaluations:
        for key, value in entry.items():
            if key.endswith(f"/{metric}"):
                curves[key.removeprefix("eval_").removesuffix(f"/{metric}")].append((entry["step"], value))
    lowest = sorted(curves, key=lambda name: curves[name][-1][1])[:LABELLED]
    for name, points in sorted(curves.items()):
        named = name in lowest
        label = " ".join(reversed(name.split("/"))) if named else None
        languages.plot(
            *zip(*points, strict=True), "o-", linewidth=1.6 if named else 0.8, color=None if named else "#c3cad2", label=label, markersize=3
        )
    aggregate = f"eval_{best_metric if best_metric != 'loss' else 'macro_auprc'}"
    languages.plot(
        [entry["step"] for entry in evaluations],
        [entry[aggregate] for entry in evaluations],
        "s-", color="black", linewidth=2.2, label=aggregate.removeprefix("eval_").replace("_", " "),
    )  # fmt: skip
    languages.set(title=f"validation {metric} per language and head; the lowest are named", xlabel="step", ylim=(None, 1.02))
    languages.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    for axes in (losses, languages):
        axes.spines[["top", "right"]].set_visible(False)
    _write_figure(folder / "report.png", figure)


def plot_policy(
    folder: Path, policy: Policy, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int8], languages: Sequence[str]
) -> None:
    """Write `policy.png`: per head the reliability of its probabilities, and what each threshold would have done on validation.

    Reliability: rows in bins of equal size by probability, the observed share of positives against the mean probability,
    over all languages and for those with a calibration of their own. Sweep: precision, recall and false-positive rate
    over all languages against the threshold; the vertical lines are the chosen ones.
    """
    heads = list(policy.heads)
    figure = Figure(figsize=(11, 4.2 * len(heads)), layout="constrained")
    spoken = np.asarray(languages)
    for row, head in zip(figure.subplots(len(heads), 2, squeeze=False), heads, strict=True):
        column, decided = heads.index(head), policy.heads[head]
        judged = labels[:, column] != MASKED
        truth, spoken_here = labels[judged, column], spoken[judged]
        probability = decided.probability(logits[judged, column], spoken_here.tolist())
        reliability, sweep = row
        reliability.plot([0, 1], [0, 1], ":", color="#9aa5b1")
        for language, colour in zip(sorted(decided.languages), cycle(LANGUAGE_COLOURS), strict=False):
            mine = spoken_here == language
            reliability.plot(*_reliability(probability[mine], truth[mine]), "o-", markersize=3, linewidth=1, color=colour, label=language)
        reliability.plot(*_reliability(probability, truth), "s-", color="black", linewidth=2, label="all languages")
        reliability.set(title=f"{head}: reliability", xlabel="calibrated probability", ylabel="observed share", xlim=(0, 1), ylim=(0, 1))
        reliability.legend(frameon=False, fontsize=8)
        thresholds = np.linspace(0, 1, 201)
        flags = probability[:, None] >= thresholds
        positives, negatives = truth == 1, truth == 0
        right = flags[positives].sum(axis=0)
        sweep.plot(thresholds, right / max(1, positives.sum()), color="#0b6e8f", label="recall")
        flagged = flags.sum(axis=0)
        precision = np.divide(right, flagged, out=np.full(len(thresholds), np.nan), where=flagged > 0)  # of nothing: no point
        sweep.plot(thresholds, precision, color="#b7791f", label="precision")
        sweep.plot(
            thresholds, flags[negatives].mean(axis=0) if negatives.any() else np.zeros(201), color="#b42318", label="false-positive rate"
        )
        sweep.axvline(decided.threshold, color="black", label="threshold")
        for place, (threshold, language) in enumerate(sorted((own.threshold, language) for language, own in decided.languages.items())):
            sweep.axvline(threshold, color="#9aa5b1", linewidth=0.8)
            height = 1.01 + 0.03 * (place % 3)  # neighbours' names may be wider than what lies between their lines
            sweep.text(threshold, height, language, fontsize=7, ha="center", transform=sweep.get_xaxis_transform())
        sweep.set(xlabel="threshold (thin lines: languages with one of their own)", xlim=(0, 1), ylim=(0, 1))
        sweep.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        for axes in row:
            axes.spines[["top", "right"]].set_visible(False)
    _write_figure(folder / "policy.png", figure)


def _reliability(probability: npt.NDArray[np.float64], truth: npt.NDArray[np.int8]) -> tuple[list[float], list[float]]:
    """Mean probability and observed share of positives in up to ten bins of equal size."""
    order = np.argsort(probability, kind="stable")
    bins = [part for part in np.array_split(order, min(10, max(1, len(order) // 20))) if len(part)]
    return [float(probability[part].mean()) for part in bins], [float((truth[part] == 1).mean()) for part in bins]


def _write_figure(path: Path, figure: Figure) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    write_bytes(path, picture.getvalue())


def write_index(runs_dir: Path) -> None:
    """Write `index.md` into `runs_dir`: every run, newest first, with its key figures, or how far it came."""
    lines = [
        "# Runs",
        "",
        "| run | mixture | encoder | best validation | steps | minutes | rows/s | |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    runs = {path.parent for path in runs_dir.glob("*/*/begun.json") if not path.parent.is_symlink()}
    for folder in sorted(runs, key=lambda path: (path.name, path), reverse=True):
        settings = read_json(folder / "begun.json")["settings"]
        name = folder.relative_to(runs_dir).as_posix()
        what = f"| [{name}]({name}) | {settings['mixture']['name']} | {settings['encoder']['name']} |"
        if (folder / "run.json").is_file():
            figures = read_json(folder / "run.json")["figures"]
            picture = "report.png" if (folder / "report.png").is_file() else "policy.png"  # averaged runs have no curves
            measured = f" {figures['best_metric']:.3f} ({settings['trainer']['best_metric']}) | {figures['steps']:,} |"
            measured += f" {figures['training_seconds'] / 60:.1f} | {figures['rows_per_second']:.1f} | [curves]({name}/{picture}) |"
        else:
            measured = f" | {_steps_saved(folder):,} | | | unfinished: `python -m train resume={runs_dir / name}` |"
        lines.append(what + measured)
    write_text(runs_dir / "index.md", "\n".join(lines) + "\n")


def _steps_saved(folder: Path) -> int:
    """How many steps of an unfinished run its checkpoints hold, of both its trainings if it prunes between them."""
    saved = [
        [int(path.name.rpartition("-")[2]) for path in folder.glob(f"checkpoints/{phase}checkpoint-*")] for phase in ("before_pruning/", "")
    ]
    return sum(max(steps, default=0) for steps in saved)
