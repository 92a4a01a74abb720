"""`python -m evaluate.functional release=<name>`: ask the shipped artifact the functional suite, and write the tables."""

from pathlib import Path

import hydra
import pandas as pd
from omegaconf import DictConfig

from data_prep.command import run_stage, user_errors
from data_prep.files import publish_folder, write_json, write_text
from data_prep.limits import check_name
from data_prep.settings import to_settings
from evaluate.functional.cases import functional_cases, write_cases
from evaluate.functional.hatecheck import read_hatecheck
from evaluate.functional.scoring import answer_cases, hard_negative_rates, pair_consistency, pass_rates
from evaluate.functional.settings import FunctionalSettings, register_schemas
from evaluate.functional.terms import answer_terms, term_cases, term_shifts
from export.bundle import open_artifact
from export.settings import release_folder


@hydra.main(config_path="../../configs", config_name="functional", version_base="1.3")
def main(config: DictConfig) -> None:
    """Score the cases, write the tables, print how many passed per functionality and language."""
    with user_errors():
        settings: FunctionalSettings = to_settings(config, FunctionalSettings)
        release = release_folder(settings.releases_dir, settings.release)
        classifier = open_artifact(release / "artifact")
        own = settings.suite.file is None
        cases = functional_cases() if own else read_hatecheck(Path(str(settings.suite.file)), settings.suite)
        answers = answer_cases(classifier, cases)
        tables = {
            "pass_rates": pass_rates(answers),
            "pass_rates_by_head": pass_rates(answers, ["head", "functionality", "language"]),
            "hard_negatives": hard_negative_rates(answers),
            "pairs": pair_consistency(answers),
        }
        if own:
            tables["terms"] = term_shifts(answer_terms(classifier, term_cases()), settings.resamples)
        target = release / "functional" / check_name("suite.name", settings.suite.name)
        with publish_folder(target) as folder:
            if own:
                write_cases(folder / "cases.csv", cases)
            write_text(folder / "answers.csv", answers.drop(columns="text").to_csv(index=False, lineterminator="\n"))
            for name, table in tables.items():
                write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
            summary = {"release": settings.release, "suite": settings.suite.name, "unvalidated": unvalidated_languages(cases)}
            write_json(folder / "functional.json", {**summary, **{name: _records(table) for name, table in tables.items()}})
        print(heat_table(tables["pass_rates"]))
        print(f"\n{', '.join(summary['unvalidated'])}: not validated by native speakers" if summary["unvalidated"] else "")
        print(f"functional suite {settings.suite.name}: {answers['case_id'].nunique():,} cases -> {target / 'pass_rates.csv'}")
        print(f"next: python -m evaluate release={settings.release}")


def unvalidated_languages(cases: pd.DataFrame) -> list[str]:
    """Languages of which no native speaker has signed the cases."""
    return sorted(cases.loc[cases["validated_by"] == "", "language"].unique())


def heat_table(rates: pd.DataFrame) -> str:
    """Percentages of passed cases, functionalities by languages; `*` marks a language in which the artifact abstains."""
    abstaining = set(rates.loc[rates["abstains"], "language"])
    table = rates.pivot(index="functionality", columns="language", values="rate").reindex(rates["functionality"].unique())
    shown = table.map(lambda rate: "" if pd.isna(rate) else f"{rate:.0%}").rename(
        columns=lambda name: f"{name}*" if name in abstaining else name
    )
    note = "\n* the artifact sends every post of this language to review; shown is the raw comparison with its threshold"
    return str(shown.rename_axis(index=None, columns=None).to_string()) + (note if abstaining else "")


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.astype(object).to_numpy().tolist()]


if __name__ == "__main__":
    register_schemas()
    run_stage(main)
