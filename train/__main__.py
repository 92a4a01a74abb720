"""`python -m train experiment=...`: fine-tune the encoder on a prepared mixture and fit the policy."""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from data_prep.command import UserError, run_stage, user_errors
from data_prep.files import read_json
from data_prep.settings import to_settings
from train.settings import TrainSettings, register_schemas


@hydra.main(config_path="../configs", config_name="train", version_base="1.3")
def main(config: DictConfig) -> float | None:
    """Train as the composed configuration says, say where the run lies, and return what a sweep compares."""
    with user_errors():
        settings: TrainSettings = to_settings(config, TrainSettings)
        if settings.resume and len(HydraConfig.get().overrides.task) > 1:
            raise UserError("resume goes on with the run's own settings: give nothing beside it, or train anew without it")

        from train.processes import is_main_process  # not before the settings stand: --help and a mistyped key answer at once
        from train.stage import train

        folder = train(settings)
        if not is_main_process():
            return None
        record = read_json(folder / "run.json")
        figures, name = record["figures"], record["settings"]["name"]
        trained = f"averaged {len(averaged)} runs, trained" if (averaged := record["settings"]["average"]) else "trained"
        print(f"\n{trained} {figures['steps']} steps in {figures['training_seconds']:.0f} s, {figures['rows_per_second']:.1f} rows/s")
        best_metric = record["settings"]["trainer"]["best_metric"]
        print(f"best validation {best_metric} {figures['best_metric']:.3f}", end="; ")
        print(f"macro_auprc {figures['finished_macro_auprc']:.3f} when finished: weights rounded, n-grams where they help -> {folder}")
        curves = folder / ("policy.png" if averaged else "report.png")
        print(f"curves: {curves}; all runs: {folder.parent.parent / 'index.md'}")
        print(f"next: python -m export run={folder.parent / 'latest'} release={name}")
        return float(figures["best_metric"])


if __name__ == "__main__":
    register_schemas()
    run_stage(main)
