"""`python -m evaluate release=...`: measure the shipped artifact per language, judge it, write the report."""

import sys
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig

from data_prep.command import run_stage, user_errors
from data_prep.settings import to_settings
from evaluate.settings import EvaluateSettings, register_schemas


@hydra.main(config_path="../configs", config_name="evaluate", version_base="1.3")
def main(config: DictConfig) -> None:
    """Score, measure, judge and report; exit code 1 when the gate fails."""
    with user_errors():
        settings: EvaluateSettings = to_settings(config, EvaluateSettings)

        from evaluate.gate import check_rules  # not before the settings stand: --help and a mistyped key answer at once
        from evaluate.measures import measure
        from evaluate.predictions import score
        from evaluate.probe_tables import gold_shares
        from evaluate.probes import probe
        from evaluate.releases import write_index
        from evaluate.report import beaten_baselines, console_table, write_report
        from export.settings import release_folder

        check_rules(settings.gate)
        began = time.monotonic()
        scored = score(settings)
        asking = time.monotonic()
        probes = probe(scored, settings)
        judging = time.monotonic()
        measures = measure(scored, settings, probes)
        if settings.release is not None:
            release = release_folder(settings.releases_dir, settings.release)
            folder = write_report(release / "report", scored, measures, settings, probes, release / "artifact")
        else:
            folder = write_report(Path(str(settings.run)) / "report", scored, measures, settings, probes)
        baselines = beaten_baselines(measures.cells)
        print(console_table(measures.cells))
        print(
            f"\nF1 above flagging nothing and the keyword list in {baselines['beaten_cells']} of {baselines['evaluated_cells']} evaluated "
            f"cells, and in {baselines['beaten_languages']} of {baselines['evaluated_languages']} languages as a mean over heads\n"
            f"AUROC above a plain model of character n-grams in {baselines['better_ranked_cells']} of {baselines['ranked_cells']} cells"
        )
        for suite in probes.suites if probes is not None else ():
            shares = gold_shares(suite)
            print(
                f"functional suite {suite.name}, {len(suite.cases):,} cases{' (unvalidated)' if suite.unvalidated else ''}: right on "
                + " and ".join(
                    f"{share:.0%} of {'allowed speech' if gold == 'allowed' else 'speech to flag'}" for gold, share in shares.items()
                )
            )
        for name in probes.without_cases if probes is not None else ():
            print(f"functional suite {name}: none of its cases is for a head of this model")
        print(
            f"gate {settings.gate.name}: {'pass' if measures.gate.passed else 'fail'}"
            + (f" ({settings.gate.note})" if settings.gate.note else "")
        )
        for ruling in measures.gate.rulings:
            print(f"  {ruling.verdict:<21}{ruling.title} ({ruling.limit})")
        print(
            f"{len(scored.rows):,} rows scored in {asking - began:.0f} s, {'probes asked' if probes else 'no probes asked'} in "
            f"{judging - asking:.0f} s, measured and written in {time.monotonic() - judging:.0f} s"
        )
        print(f"report -> {folder / 'report.html'}")
        if settings.release is None:
            print(f"next: python -m export run={settings.run} release=demo")
        else:
            print(f"releases -> {write_index(Path(settings.releases_dir))}")
            print(f'next: echo \'{{"text": "...", "language": "ur"}}\' | python {release / "artifact" / "predict.py"}')
        if not measures.gate.passed:
            sys.exit(1)


if __name__ == "__main__":
    register_schemas()
    run_stage(main)
