"""`python -m train experiment=...`: fine-tune the encoder on a prepared mixture and fit the policy."""

import hydra
from omegaconf import DictConfig

from data_prep.command import run_stage, user_errors
from data_prep.files import read_json
from data_prep.settings import to_settings
from train.settings import TrainSettings, register_schemas
from train.stage import train


@hydra.main(config_path="../configs", config_name="train", version_base="1.3")
def main(config: DictConfig) -> None:
    """Train as the composed configuration says, and say where the run lies."""
    with user_errors():
        settings: TrainSettings = to_settings(config, TrainSettings)
        folder = train(settings)
        figures = read_json(folder / "run.json")["figures"]
        latest = folder.parent / "latest"
        print(f"\ntrained {figures['steps']} steps in {figures['training_seconds']:.0f} s, {figures['rows_per_second']:.1f} rows/s")
        print(f"best validation {settings.trainer.best_metric} {figures['best_metric']:.3f} -> {folder}")
        print(f"next: python -m export run={latest} release={settings.name}")


if __name__ == "__main__":
    register_schemas()
    run_stage(main)
