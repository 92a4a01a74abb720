"""An interrupted run goes on where it was, to the very weights that it would have had without the interruption."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from data_prep.command import UserError
from data_prep.files import read_json, write_json
from tests.conftest import prepare_rows, tiny_rows, tiny_settings
from train.checkpoints import CLOCK, SafeStops, is_whole, newest_whole_checkpoint, seal
from train.overview import write_index
from train.run import load_run
from train.settings import TrainSettings
from train.stage import Interrupted, train

AFTER_THE_LAST = -1  # of a training's steps


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainSettings:
    """A run of 16 small steps in two epochs, with dropout, that saves after each step."""
    prepare_rows(tmp_path, tiny_rows(160))
    settings = tiny_settings(tmp_path)
    settings.trainer.epochs = 2
    settings.trainer.checkpoint_minutes = 0
    return settings


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class KillAt(TrainerCallback):
    """Sends this process a signal, or raises as a crash would, at the end of a step, or when the last one was saved."""

    def __init__(self, step: int, number: int | None) -> None:
        self.step, self.number = step, number

    def on_step_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        if state.global_step == self.step:
            if self.number is None:
                raise ZeroDivisionError("a crash")
            os.kill(os.getpid(), self.number)

    def on_train_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        if self.step == AFTER_THE_LAST:
            raise ZeroDivisionError("a crash")


def interrupted(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, step: int, number: int | None, phase: str = "") -> Path:
    import train.stage as stage

    build = stage.build_trainer

    def with_kill(*args, **kwargs):  # type: ignore[no-untyped-def]
        trainer = build(*args, **kwargs)
        if Path(trainer.args.output_dir) == Path(args[5]) / "checkpoints" / phase:
            callbacks = trainer.callback_handler.callbacks
            # before the callback that listens: a signal in a step is seen at its end
            callbacks.insert(next(i for i, one in enumerate(callbacks) if isinstance(one, SafeStops)), KillAt(step, number))
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(stage, "build_trainer", with_kill)
        with pytest.raises(ZeroDivisionError if number is None else Interrupted):
            train(settings)
    (begun,) = [path.parent for path in Path(settings.runs_dir).glob("*/*/begun.json") if not (path.parent / "run.json").exists()]
    return begun


def resume(folder: Path) -> Path:
    return train(TrainSettings(resume=str(folder)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_resumed_run_has_the_same_weights(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(settings)
    steps = read_json(whole / "run.json")["figures"]["steps"]
    folder = interrupted(settings, monkeypatch, steps // 2 + 1, number)  # in the midst of the second epoch
    assert f"python -m train resume={folder}" in capsys.readouterr().err
    with pytest.raises(UserError, match="did not finish: go on with"):
        load_run(folder)
    assert resume(folder) == folder
    assert same(whole, folder)
    logs = [(run / "metrics.jsonl").read_text().count("eval_loss") for run in (whole, folder)]
    assert logs[0] == logs[1] > 0


def test_after_a_crash_it_goes_on_from_the_last_whole_checkpoint(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.trainer.loss.dro_step = 0.1  # a loss with a state of its own
    whole = train(settings)
    folder = interrupted(settings, monkeypatch, 7, None)
    newest, before, *_ = sorted((folder / "checkpoints").glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1]))
    damaged = newest / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    resume(folder)
    assert f"{newest} is incomplete or damaged" in capsys.readouterr().out
    assert same(whole, folder)
    assert before != newest


@pytest.mark.parametrize("override", ["trainer.epochs=2", "trainer.epochs=1.3", "trainer.max_steps=5"])
def test_a_training_that_had_made_its_last_step_makes_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str) -> None:
    prepare_rows(tmp_path, tiny_rows(160))
    settings = tiny_settings(tmp_path, override)
    whole = train(settings)
    folder = interrupted(settings, monkeypatch, AFTER_THE_LAST, None)
    (folder / "checkpoints" / CLOCK).unlink()  # as an earlier version would leave it
    assert resume(folder) == folder
    assert same(whole, folder)
    steps = [read_json(run / "run.json")["figures"]["steps"] for run in (whole, folder)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize(("step", "number"), [(2 * 8 + 3, signal.SIGTERM), (AFTER_THE_LAST, None)])
def test_patience_lasts_as_long_as_it_would_have(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, step: int, number: int | None
) -> None:
    """Nothing is learnt, so the second and the third evaluation are the two without a gain that it stops for."""
    settings.trainer.epochs, settings.trainer.patience = 6, 2
    settings.trainer.learning_rate = settings.trainer.head_learning_rate = 1e-12
    whole = train(settings)
    assert [entry["epoch"] for entry in metrics(whole) if "eval_loss" in entry] == [1, 2, 3]
    folder = interrupted(settings, monkeypatch, step, number)
    resume(folder)
    assert [entry["epoch"] for entry in metrics(folder) if "eval_loss" in entry] == [1, 2, 3]
    assert same(whole, folder)


def test_only_somebody_who_asks_again_is_obeyed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that torchrun started gets a signal of its group's twice, and an impatient person's a moment later."""
    now = 100.0
    monkeypatch.setattr("train.checkpoints.time.monotonic", lambda: now)
    stops = SafeStops(10, torch.nn.Identity())
    with stops.listening():
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
        now += 30
        os.kill(os.getpid(), signal.SIGTERM)
        assert stops.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("phase", ["before_pruning", ""])
def test_a_pruned_run_goes_on_with_the_same_neurons_and_heads(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    settings.encoder.feed_forward, settings.encoder.attention_heads = 24, 1
    settings.trainer.epochs, settings.trainer.epochs_after_pruning = 1, 2
    whole = train(settings)
    folder = interrupted(settings, monkeypatch, 3, signal.SIGTERM, phase)
    steps_before = 0 if phase else read_json(whole / "run.json")["figures"]["steps"] // 3
    write_index(Path(settings.runs_dir))
    assert f"| {steps_before + 3} | | | unfinished" in (Path(settings.runs_dir) / "index.md").read_text()
    clocks = list((folder / "checkpoints").rglob(CLOCK))
    for clock in clocks:
        assert 0 < read_json(clock)["seconds"] < 100
        write_json(clock, {"seconds": 1000.0})
    assert resume(folder) == folder
    figures = read_json(folder / "run.json")["figures"]
    assert figures["training_seconds"] // 1000 == len(clocks) == 1 + (not phase)  # what it took before it was resumed counts
    assert figures["total_seconds"] > figures["training_seconds"]
    assert weights(folder)["roberta.encoder.layer.0.intermediate.dense.weight"].shape == (24, 32)
    assert same(whole, folder)
    evaluations = [[entry for entry in metrics(run) if "eval_loss" in entry] for run in (whole, folder)]
    assert [entry["step"] for entry in evaluations[0]] == [entry["step"] for entry in evaluations[1]]
    assert len(evaluations[0]) == 3


def test_a_checkpoint_without_a_seal_does_not_count(tmp_path: Path) -> None:
    for step, content in ((5, "a"), (40, "b")):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "weights").write_text(content)
    assert newest_whole_checkpoint(tmp_path) is None
    seal(tmp_path / "checkpoint-5")
    assert newest_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    seal(tmp_path / "checkpoint-40")
    assert newest_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-40"
    (tmp_path / "checkpoint-40" / "weights").unlink()
    assert not is_whole(tmp_path / "checkpoint-40")
    (tmp_path / "checkpoint-5" / "weights").write_text("c")
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged"):
        newest_whole_checkpoint(tmp_path)


def test_what_cannot_be_resumed_says_why(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder of a run"):
        resume(tmp_path)
    folder = interrupted(settings, monkeypatch, 2, signal.SIGTERM)
    prepare_rows(tmp_path, tiny_rows(161))
    with pytest.raises(UserError, match=r"the data in .* changed since"):
        resume(folder)
    shutil.rmtree(folder)
    finished = train(settings)
    with pytest.raises(UserError, match="is finished"):
        resume(finished)


def test_two_runs_in_one_second_get_folders_of_their_own(settings: TrainSettings) -> None:
    settings.trainer.max_steps = 1
    folders = {train(settings) for _ in range(3)}
    assert len(folders) == 3
    index = (Path(settings.runs_dir) / "index.md").read_text()
    assert all(f"[tiny/{folder.name}]" in index for folder in folders)
