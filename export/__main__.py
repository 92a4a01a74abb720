"""`python -m export run=... release=...`: a finished run becomes an ONNX artifact with proof of parity."""

import hydra
from omegaconf import DictConfig

from data_prep.command import run_stage, user_errors
from data_prep.files import read_json
from data_prep.settings import to_settings
from export.bundle import export_release
from export.settings import ExportSettings, register_schemas


@hydra.main(config_path="../configs", config_name="export", version_base="1.3")
def main(config: DictConfig) -> None:
    """Export, check, publish, and say where the artifact lies."""
    with user_errors():
        settings: ExportSettings = to_settings(config, ExportSettings)
        folder = export_release(settings)
        parity = read_json(folder / "contract.json")["parity"]
        print(
            f"parity over {parity['rows']} rows of several shapes: logits differ by at most {parity['max_logit_difference']:.1e}, "
            f"embeddings by {parity['max_embedding_difference']:.1e}, {parity['decision_flips']} decisions flip"
        )
        print(f"{(folder / 'model.onnx').stat().st_size / 2**20:.0f} MiB model -> {folder}")
        print(f"next: python -m evaluate release={settings.release}")


if __name__ == "__main__":
    register_schemas()
    run_stage(main)
