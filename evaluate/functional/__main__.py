"""`python -m evaluate.functional release=<name>`: ask the shipped artifact the functional suite, and write the tables."""

from pathlib import Path

import hydra
import pandas as pd
from omegaconf import DictConfig

from data_prep.command import UserError, run_stage, user_errors
from data_prep.files import publish_folder, write_json, write_text
from data_prep.limits import check_name
from data_prep.settings import to_settings
from evaluate.escaping import visible, visible_strings
from evaluate.functional.cases import write_cases
from evaluate.functional.scoring import hard_negative_rates, pair_consistency, pass_rates
from evaluate.functional.settings import FunctionalSettings, register_schemas
from evaluate.functional.suite import SuiteResult, ask_suite
from evaluate.functional.terms import answer_terms, term_cases, term_shifts
from evaluate.tables import to_csv
from export.artifact import open_artifact
from export.settings import release_folder


@hydra.main(config_path="../../configs", config_name="functional", version_base="1.3")
def main(config: DictConfig) -> None:
    """Score the cases, write the tables, print how many passed per functionality and language."""
    with user_errors():
        settings: FunctionalSettings = to_settings(config, FunctionalSettings)
        release = release_folder(settings.releases_dir, settings.release)
        target = release / "functional" / check_name("suite.name", settings.suite.name)
        classifier = open_artifact(release / "artifact")
        result = ask_suite(classifier, settings.suite)
        if result is None:
            raise UserError(
                f"suite {settings.suite.name} has no case for the heads of release {settings.release} "
                f"({', '.join(classifier.contract['heads'])}): give a suite that was written for them"
            )
        terms = term_shifts(answer_terms(classifier, term_cases()), settings.resamples) if settings.suite.file is None else None
        write_tables(target, settings.release, result, terms)
        print(heat_table(result.pass_rates))
        print(f"\n{', '.join(map(visible, result.unvalidated))}: not validated by native speakers" if result.unvalidated else "")
        print(f"functional suite {settings.suite.name}: {len(result.cases):,} cases -> {target / 'pass_rates.csv'}")
        print(f"next: python -m evaluate release={settings.release}")


def write_tables(target: Path, release: str, result: SuiteResult, terms: pd.DataFrame | None) -> None:
    """Write a suite's tables as CSV and JSON, atomically; `terms` are the shifts of exchanged terms, which only the own suite has."""
    tables = {
        "pass_rates": result.pass_rates,
        "pass_rates_by_head": pass_rates(result.answers, ["head", "functionality", "language"]),
        "hard_negatives": hard_negative_rates(result.answers),
        "pairs": pair_consistency(result.answers),
    }
    with publish_folder(target) as folder:
        if terms is not None:
            tables["terms"] = terms
            write_cases(folder / "cases.csv", result.cases)
        write_text(folder / "answers.csv", to_csv(result.answers.drop(columns="text")))
        for name, table in tables.items():
            write_text(folder / f"{name}.csv", to_csv(table))
        summary = {"release": release, "suite": result.name, "unvalidated": result.unvalidated}
        document = {**summary, **{name: _records(table) for name, table in tables.items()}}
        write_json(folder / "functional.json", visible_strings(document))


def heat_table(rates: pd.DataFrame) -> str:
    """Percentages of passed cases, functionalities by languages; `*` marks a language in which the artifact abstains."""
    abstaining = set(rates.loc[rates["abstains"], "language"])
    table = rates.pivot(index="functionality", columns="language", values="rate").reindex(rates["functionality"].unique())
    shown = table.map(lambda rate: "" if pd.isna(rate) else f"{rate:.0%}").rename(
        columns=lambda name: f"{name}*" if name in abstaining else name
    )
    note = "\n* the artifact sends every post of this language to review; shown is the raw comparison with its threshold"
    return str(shown.rename_axis(index=None, columns=None).rename(index=visible, columns=visible).to_string()) + (
        note if abstaining else ""
    )


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.astype(object).to_numpy().tolist()]


if __name__ == "__main__":
    register_schemas()
    run_stage(main)
