"""The mean of several runs' weights is a run like any other."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from data_prep.command import UserError
from tests.conftest import prepare_rows, tiny_rows, tiny_settings
from train.averaging import average_runs
from train.labels import MASKED
from train.limits import check_train_settings
from train.prediction import predict_logits
from train.run import Run, load_run
from train.selection import select_split
from train.settings import TrainSettings
from train.stage import find_examples, train
from train.tokenised import TokenisedRows


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Path]]:
    """A prepared mixture, a tiny encoder that knows it roughly, and three seeds fine-tuned from there, embeddings as they were."""
    folder = tmp_path_factory.mktemp("averaging")
    prepare_rows(folder, tiny_rows())
    rough = load_run(train(tiny_settings(folder, "trainer.epochs=8")))
    encoder = folder / "encoder"
    rough.model.roberta.save_pretrained(encoder)
    config = json.loads((encoder / "config.json").read_text(encoding="utf-8"))
    (encoder / "config.json").write_text(json.dumps({**config, "model_type": "xlm-roberta"}), encoding="utf-8")
    (encoder / "tokenizer.json").write_text(rough.tokenizer.to_str(), encoding="utf-8")
    return folder, encoder, [train(settings_of(folder, encoder, f"name=part{seed}", f"trainer.seed={seed}")) for seed in (1, 2, 3)]


def settings_of(folder: Path, encoder: Path, *overrides: str) -> TrainSettings:
    few = ("trainer.freeze_embeddings=true", "trainer.epochs=3", "trainer.learning_rate=1e-3")
    return tiny_settings(folder, "encoder.kind=hub", f"+encoder.path={encoder}", *few, *overrides)


@pytest.fixture(scope="module")
def averaged(workspace: tuple[Path, Path, list[Path]]) -> Run:
    folder, encoder, runs = workspace
    return load_run(train(settings_of(folder, encoder, "name=averaged", f"average=[{','.join(map(str, runs))}]")))


def area(run: Run, folder: Path) -> float:
    table = select_split(find_examples(tiny_settings(folder)), "test", list(run.model.config.heads))
    rows = TokenisedRows(table, run.tokenizer, list(run.model.config.heads))
    logits, _ = predict_logits(run.model, rows)
    judged = rows.labels != MASKED
    return float(
        np.mean([roc_auc_score(rows.labels[judged[:, head], head], logits[judged[:, head], head]) for head in range(logits.shape[1])])
    )


def test_every_weight_is_the_mean(workspace: tuple[Path, Path, list[Path]], averaged: Run) -> None:
    states = [load_run(run).model.state_dict() for run in workspace[2]]
    mean = torch.stack([state["classifier.weight"].double() for state in states]).mean(dim=0).float()
    got = averaged.model.state_dict()
    assert not torch.equal(states[0]["classifier.weight"], states[1]["classifier.weight"])
    torch.testing.assert_close(got["classifier.weight"], mean, rtol=0, atol=0)
    # matrices of the encoder are rounded to 8 bits again: at most half a step from the mean
    matrix = "roberta.encoder.layer.0.intermediate.dense.weight"
    mean = torch.stack([state[matrix] for state in states]).mean(dim=0)
    assert 0 < (got[matrix] - mean).abs().max() <= mean.abs().max() / 63
    embeddings = "roberta.embeddings.word_embeddings.weight"
    assert torch.equal(got[embeddings], states[0][embeddings]), "three times a number over three is that number, to the bit"


def test_it_knows_what_its_parts_know(workspace: tuple[Path, Path, list[Path]], averaged: Run) -> None:
    folder, _, runs = workspace
    assert area(averaged, folder) >= min(area(load_run(run), folder) for run in runs) > 0.9


def test_it_is_a_finished_run_that_says_what_it_was_made_of(workspace: tuple[Path, Path, list[Path]], averaged: Run) -> None:
    folder, _, runs = workspace
    figures = [json.loads((run / "run.json").read_text(encoding="utf-8"))["figures"] for run in runs]
    record = averaged.record
    assert record["settings"]["average"] == [str(run) for run in runs]
    assert record["figures"]["steps"] == sum(each["steps"] for each in figures)
    assert record["figures"]["training_seconds"] == pytest.approx(sum(each["training_seconds"] for each in figures))
    assert record["figures"]["total_seconds"] > sum(each["total_seconds"] for each in figures)
    assert 0.9 < record["figures"]["best_metric"] <= 1
    assert set(averaged.policy.heads) == {"propaganda", "violence_glorification"}
    assert averaged.model.config.embedding_dimension == load_run(runs[0]).model.config.embedding_dimension
    index = (folder / "runs" / "index.md").read_text(encoding="utf-8")
    assert f"(averaged/{averaged.folder.name}/policy.png)" in index
    assert f"(part1/{runs[0].name}/report.png)" in index
    assert not (averaged.folder / "checkpoints").exists()


def test_a_run_and_itself_are_that_run(workspace: tuple[Path, Path, list[Path]]) -> None:
    folder, encoder, (first, *_) = workspace
    run = load_run(train(settings_of(folder, encoder, "name=twice", f"average=[{first},{first}]")))
    for head, fitted in load_run(first).policy.heads.items():
        assert run.policy.heads[head].threshold == pytest.approx(fitted.threshold, rel=1e-4)
        assert run.policy.heads[head].temperature == pytest.approx(fitted.temperature, rel=1e-4)
        assert run.policy.heads[head].intercept == pytest.approx(fitted.intercept, rel=1e-3)
    for name, weight in load_run(first).model.state_dict().items():
        if not name.startswith("projection"):
            torch.testing.assert_close(run.model.state_dict()[name], weight, rtol=1e-5, atol=1e-7)


def test_a_run_of_before_a_setting_had_its_default(workspace: tuple[Path, Path, list[Path]], tmp_path: Path) -> None:
    folder, encoder, (first, second, _) = workspace
    older = Path(shutil.copytree(first, tmp_path / "older"))
    record = json.loads((older / "run.json").read_text(encoding="utf-8"))
    del record["settings"]["encoder"]["attention_heads"]
    (older / "run.json").write_text(json.dumps(record), encoding="utf-8")
    average_runs(settings_of(folder, encoder, f"average=[{older},{second}]"))


def test_runs_that_have_not_everything_else_alike_are_refused(workspace: tuple[Path, Path, list[Path]], tmp_path: Path) -> None:
    folder, encoder, (first, second, _) = workspace
    settings = settings_of(folder, encoder, "name=mixed", f"average=[{first},{second}]")
    settings.fraction = 0.5
    with pytest.raises(UserError, match=r"part1/.* was trained with another fraction, .*: give the experiment and data"):
        average_runs(settings)
    settings = settings_of(folder, encoder, "name=none", f"average=[{first},{tmp_path / 'none'}]")
    with pytest.raises(UserError, match="no run at"):
        train(settings)
    assert not list((folder / "runs" / "none").glob("2*")), "nothing half-written"
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder / "data", elsewhere / "data")
    manifest = json.loads((elsewhere / "data" / "mine" / "manifest.json").read_text(encoding="utf-8"))
    manifest["table_sha256"] = "0" * 64
    (elsewhere / "data" / "mine" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match="was trained with another data"):
        average_runs(settings_of(elsewhere, encoder, f"average=[{first},{second}]"))
    with pytest.raises(UserError, match=r"give a trainer.best_metric such as macro_auprc"):
        check_train_settings(settings_of(folder, encoder, f"average=[{first},{second}]", "trainer.best_metric=loss"))
    with pytest.raises(UserError, match="is one run: give two or more"):
        check_train_settings(tiny_settings(folder, f"average=[{first}]"))


def test_pruned_runs_are_averaged_if_they_kept_the_same_neurons(
    workspace: tuple[Path, Path, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, encoder, _ = workspace
    pruned = ("encoder.feed_forward=24", "encoder.attention_heads=1", "trainer.learning_rate=1e-4")
    other = train(settings_of(folder, encoder, "name=others", *pruned))

    def lowest(moment: torch.Tensor, weights: torch.Tensor, width: int, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.arange(width), torch.cat([weights[:width], weights[-1:]])

    monkeypatch.setattr("train.pruning.take_over", lowest)
    first, second = (train(settings_of(folder, encoder, f"name=pruned{seed}", f"trainer.seed={seed}", *pruned)) for seed in (1, 2))
    average_runs(settings_of(folder, encoder, f"average=[{first},{second}]", *pruned))
    with pytest.raises(UserError, match=r"others/.* was trained with another choice of inner neurons"):
        average_runs(settings_of(folder, encoder, f"average=[{first},{other}]", *pruned))
