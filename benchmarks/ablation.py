"""What each choice of the training recipe is worth: the defaults with one thing changed, several seeds each.

python benchmarks/ablation.py --data-dir data --out runs/ablation [--seeds 1 2 3] [--only NAME ...] [--fraction 0.2] [--quick]

Every run trains on a fixed fifth of `research` (--quick: a few steps on the embedded sample, to see that it works) and is
measured on its test rows at the policy fitted on validation. None but the variant "n-grams" has those: they are fitted after the
encoder and make up for some of what it has not learnt. Finished runs are kept in <out>/results.json,
so the command can be stopped and repeated. Prints a table (mean and standard deviation over the seeds; macro: mean over
language-head cells with at least 20 test rows of each class; worst: the lowest of them) and, last, one line of JSON.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from hydra import compose, initialize_config_dir
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[0] = str(REPOSITORY)

from data_prep.files import read_json, write_json  # noqa: E402
from data_prep.settings import to_settings  # noqa: E402
from data_prep.table import load_examples  # noqa: E402
from train.labels import MASKED, label_matrix  # noqa: E402
from train.policy import Policy  # noqa: E402
from train.prediction import predict_logits  # noqa: E402
from train.run import load_run  # noqa: E402
from train.selection import select_split  # noqa: E402
from train.settings import TrainSettings, register_schemas  # noqa: E402
from train.stage import train  # noqa: E402
from train.tokenised import TokenisedRows  # noqa: E402

VARIANTS = {
    "defaults": [],
    "language alpha 0.5": ["trainer.sampling.language_alpha=0.5"],
    "language alpha 0": ["trainer.sampling.language_alpha=0"],
    "focal loss": ["trainer.loss.kind=focal"],
    "asymmetric loss": ["trainer.loss.kind=asymmetric", "trainer.loss.focus=4"],
    "positives weighted": ["+trainer.loss.positive_weight={balanced: 10}"],
    "label smoothing 0.1": ["trainer.loss.label_smoothing=0.1"],
    "R-Drop": ["trainer.loss.r_drop=1"],
    "group DRO": ["trainer.loss.dro_step=0.01", "trainer.weight_decay=0.1"],
    "whole vocabulary": ["encoder.trim=false"],
    "all layers": ["encoder.layers=null"],
    "three epochs": ["trainer.epochs=3"],
    "trained embeddings": ["trainer.freeze_embeddings=false"],
    "layer decay 0.9": ["trainer.layer_decay=0.9"],
    "LoRA, rank 16": ["trainer.lora.rank=16", "trainer.learning_rate=5e-4"],
    "domain adaptation": ["adaptation.epochs=2"],
    "n-grams": ["ngram_buckets=262144"],
}
MEASURES = (
    "macro_auroc",
    "macro_auprc",
    "macro_f1",
    "worst_auroc",
    "worst_f1",
    "neutral_fpr",
    "macro_f1_one_threshold",
    "neutral_fpr_one_threshold",
)


def measure(policy: Policy, logits: npt.NDArray[np.float32], table: Dataset, heads: list[str], least: int = 20) -> dict[str, float]:
    """Logits (rows, heads) of the test rows, at the run's policy and, beside it, at one threshold per head.

    A language-head cell counts from `least` rows of each class on.
    """
    labels_of, languages = label_matrix(table, heads), list(table["language"])
    spoken, cells, neutral = np.asarray(languages), [], []
    for column, head in enumerate(heads):
        fitted, labels = policy.heads[head], labels_of[:, column]
        own = fitted.probability(logits[:, column], languages) >= [fitted.threshold_of(language) for language in languages]
        shared = fitted.probability(logits[:, column]) >= fitted.threshold
        plain = np.asarray([sense[head] == "neutral" for sense in table["sense"]])
        for language in np.unique(spoken):
            mine = (spoken == language) & (labels != MASKED)
            truth = labels[mine] == 1
            if min(truth.sum(), (~truth).sum()) >= least:
                scores = logits[mine, column]
                f1 = [f1_score(truth, flags[mine], zero_division=0) for flags in (own, shared)]
                cells.append([roc_auc_score(truth, scores), average_precision_score(truth, scores), *f1])
            if (mine & plain).any():
                neutral.append([flags[mine & plain].mean() for flags in (own, shared)])
    auroc, auprc, f1_own, f1_shared = np.asarray(cells).T
    worst_own, worst_shared = np.asarray(neutral or [(0, 0)]).max(axis=0)  # 0 also where the mixture has no neutral row
    values = (auroc.mean(), auprc.mean(), f1_own.mean(), auroc.min(), f1_own.min(), worst_own, f1_shared.mean(), worst_shared)
    return {name: round(float(value), 4) for name, value in zip(MEASURES, values, strict=True)}


def main() -> None:
    """Train and measure what is missing, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=REPOSITORY / "data")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "runs" / "ablation")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--fraction", type=float, default=0.2, help="of the training rows: all, where a GPU can be used")
    parser.add_argument("--quick", action="store_true", help="a few steps on the embedded sample")
    arguments = parser.parse_args()
    register_schemas()
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept = arguments.out / "results.json"
    results: dict[str, Any] = read_json(kept) if kept.is_file() else {}
    for seed in arguments.seeds:
        for variant in arguments.only:
            if f"{variant}/{seed}" in results:
                continue
            overrides = [
                "experiment=research_offline",
                "encoder=packaged_e5_nine",  # pruning is no setting of the training, and takes half as long again
                "ngram_buckets=0",
                *VARIANTS[variant],
                f"trainer.seed={seed}",
                "trainer.trackers=[]",
                f"fraction={arguments.fraction}",
            ]
            overrides += [f"data_dir={arguments.data_dir}", f"runs_dir={arguments.out}"]
            if arguments.quick:
                overrides += ["debug=tiny", "fraction=1.0"]
            with initialize_config_dir(str(REPOSITORY / "configs"), version_base="1.3"):
                settings: TrainSettings = to_settings(compose("train", overrides), TrainSettings)
            folder = train(settings)
            run, heads = load_run(folder), sorted(settings.heads)
            table = select_split(load_examples(arguments.data_dir / settings.mixture.name), "test", heads)
            logits, _ = predict_logits(run.model, TokenisedRows(table, run.tokenizer, heads))
            seconds = read_json(folder / "run.json")["figures"]["total_seconds"]
            results[f"{variant}/{seed}"] = {**measure(run.policy, logits, table, heads), "seconds": round(seconds)}
            write_json(kept, results)
    print(f"\n{'':22}" + "".join(f"{name:>26}" for name in MEASURES))
    summary = {}
    for variant in arguments.only:
        runs = [results[key] for seed in arguments.seeds if (key := f"{variant}/{seed}") in results]
        summary[variant] = {name: [round(float(f([run[name] for run in runs])), 4) for f in (np.mean, np.std)] for name in MEASURES}
        print(f"{variant:22}" + "".join(f"{mean:>17.3f} ± {deviation:.3f} " for mean, deviation in summary[variant].values()))
    print(json.dumps({"seeds": arguments.seeds, "mean_and_deviation": summary}))


if __name__ == "__main__":
    main()
