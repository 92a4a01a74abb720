"""`python -m data_prep`: read every source of a mixture, account for each row, publish the Example table."""

import hydra
from omegaconf import DictConfig

from data_prep.command import run_stage, user_errors
from data_prep.files import read_json
from data_prep.settings import DataPrepSettings, register_schemas, to_settings


@hydra.main(config_path="../configs", config_name="data_prep", version_base="1.3")
def main(config: DictConfig) -> None:
    """Prepare `mixture=...` and say what came of every row."""
    with user_errors():
        settings: DataPrepSettings = to_settings(config, DataPrepSettings)

        from data_prep.pipeline import prepare  # not before the settings stand: --help and a mistyped key answer at once

        folder = prepare(settings)
        manifest = read_json(folder / "manifest.json")
        print(f"{'source':<40}{'rows in':>9} ={'kept':>8} +{'duplicates':>11} +{'leaking':>8} +{'rejected':>9}")
        for name, source in manifest["sources"].items():
            print(
                f"{name:<40}{source['rows_in']:>9} ={source['kept']:>8} +{source['duplicates']:>11} "
                f"+{source['leaking']:>8} +{source['rejected']:>9}"
            )
        print(f"\n{manifest['rows']:,} rows -> {folder}  (read {folder / 'datasheet.html'})")
        name = settings.mixture.name
        experiments = {"sample": "experiment=quickstart", "research": "experiment=research_offline"}
        print(f"next: python -m train {experiments.get(name, f'mixture={name} name={name}')}")


if __name__ == "__main__":
    register_schemas()
    run_stage(main)
