"""`python -m export run=... release=...`: a finished run becomes an ONNX artifact with proof of parity."""

import hydra
from omegaconf import DictConfig

from data_prep.command import run_stage, user_errors
from data_prep.files import read_json
from data_prep.settings import to_settings
from export.settings import ExportSettings, register_schemas


@hydra.main(config_path="../configs", config_name="export", version_base="1.3")
def main(config: DictConfig) -> None:
    """Export, check, publish, and say where the artifact lies."""
    with user_errors():
        settings: ExportSettings = to_settings(config, ExportSettings)

        from export.bundle import export_release  # not before the settings stand: --help and a mistyped key answer at once

        folder = export_release(settings)
        contract = read_json(folder / "contract.json")
        for name, variant in contract["variants"].items():
            parity = variant["parity"]
            size = sum(path.stat().st_size for path in folder.glob(f"{variant['file']}*"))  # weights may lie beside their graph
            print(
                f"{name}: {size / 2**20:.0f} MiB; from PyTorch over {parity['rows']} rows of several "
                f"shapes: logits {parity['max_logit_difference']:.1e}, embeddings {parity['max_embedding_difference']:.1e}, "
                f"{parity['decision_flips']} decisions flip"
            )
        for name, measured in contract["measured"].items():
            print(f"{name} {'ships' if measured['ships'] else 'does not ship'}: {measured['note']}")
            cells = measured["agreement"]
            if measured["ships"] and cells:
                worst = min(cells, key=lambda cell: cell["agreement"])
                print(
                    f"  it decides as fp32 on {100 * worst['agreement']:.1f}% of the rows or more in {len({c['language'] for c in cells})} "
                    f"languages (fewest in {worst['language']}, {worst['head']})"
                )
        print(f"artifact -> {folder}")
        print(f"check it anywhere: python {folder / 'verify.py'}")
        print(f"next: python -m evaluate release={settings.release}")


if __name__ == "__main__":
    register_schemas()
    run_stage(main)
