"""Bad input of training: settings, encoders, data, runs, checkpoints, clocks and company."""

import contextlib
import datetime
import json
import pickle
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.command import UserError
from data_prep.files import read_json
from tests.conftest import prepare_rows, tiny_rows, tiny_settings
from tests.reliability.harness import (
    Case,
    check,
    check_sentence,
    parametrised,
    read_only,
    run_here,
    small_disk,
    snapshot,
    without_root,
)
from train.checkpoints import SafeStops, seal
from train.run import alone_with
from train.settings import TrainSettings
from train.stage import Interrupted, train

TINY = ("encoder=tiny", "trainer.max_steps=2", "trainer.trackers=[]", "trainer.sampling.tokens_per_batch=512", "projection.steps=1")


def setting(name: str, what: str, says: str, *overrides: str) -> Case:
    return Case(name, what, "train", says, [*TINY, "data_dir={data}", "runs_dir={folder}/runs", *overrides])


SETTINGS = [
    setting("train-experiment-unknown", "an experiment that no config names", "xlmr_bsae", "experiment=xlmr_bsae"),
    setting("train-key-mistyped", "a setting that does not exist", "lerning_rate", "trainer.lerning_rate=1"),
    setting("train-type-wrong", "a word where a number belongs", "learning_rate", "trainer.learning_rate=fast"),
    setting("train-name-climbs", "`name=../../elsewhere`", "is not a usable name", "name=../../elsewhere"),
    setting("train-rate-nan", "`trainer.learning_rate=nan`", "use a number above 0", "trainer.learning_rate=nan"),
    setting("train-epochs-zero", "`trainer.epochs=0`", "use a number above 0", "trainer.epochs=0"),
    setting("train-steps-zero", "`trainer.max_steps=0`", "trains nothing", "trainer.max_steps=0"),
    setting("train-seed-negative", "`trainer.seed=-1`", "trainer.seed=-1 is out of range", "trainer.seed=-1"),
    setting("train-dropout-too-large", "`trainer.dropout=2`", "trainer.dropout=2.0 is out of range", "trainer.dropout=2"),
    setting(
        "train-batch-empty", "`trainer.sampling.tokens_per_batch=0`", "tokens_per_batch=0 is out", "trainer.sampling.tokens_per_batch=0"
    ),
    setting("train-length-too-short", "`encoder.max_length=2`, no room for a word", "encoder.max_length=2 is out", "encoder.max_length=2"),
    setting("train-encoder-kind-unknown", "`encoder.kind=torrent`", "encoder.kind=torrent is unknown", "encoder.kind=torrent"),
    setting("train-pooling-unknown", "`encoder.pooling=max`", "encoder.pooling=max is unknown", "encoder.pooling=max"),
    setting("train-loss-unknown", "`trainer.loss.kind=hinge`", "loss.kind=hinge is unknown", "trainer.loss.kind=hinge"),
    setting("train-weight-of-no-head", "a weight for a head that is none", "is no head", "+trainer.loss.positive_weight.praise=2"),
    setting("train-metric-unknown", "`trainer.best_metric=accuracy`", "best_metric=accuracy is unknown", "trainer.best_metric=accuracy"),
    setting("train-policy-target-unknown", "`policy.target=recall`", "policy.target=recall is unknown", "policy.target=recall"),
    setting("train-tracker-unknown", "`trainer.trackers=[excel]`", "excel is unknown", "trainer.trackers=[excel]"),
    setting("train-tracker-missing", "a tracker that is not installed", "is not installed", "trainer.trackers=[wandb]"),
    setting("train-lora-target-unknown", "adapters for no layer", "names no layer", "trainer.lora.rank=2", "trainer.lora.targets=[attn]"),
    setting("train-language-unknown", "`leave_out` of a language without rows", "which no row is in", "leave_out=[tlh]"),
    setting("train-fraction-zero", "`fraction=0`", "is no share", "fraction=0"),
    setting("train-fraction-tiny", "a fraction that leaves no row", "use a larger one", "fraction=0.000001"),
    setting("train-teacher-missing", "a teacher that is no run", "no run at", "trainer.distillation.teachers=[nowhere]"),
    setting("train-average-of-one", "`average` of one run", "is one run", "average=[nowhere]"),
    setting("train-average-random", "`average` of encoders that begin at random", "random weights", "average=[one,other]"),
    setting("train-data-missing", "data that were not prepared", "holds no prepared data", "mixture=research", "data_dir={folder}/data"),
    setting("train-resume-missing", "`resume` of a folder that is no run", "is no folder of a run", "resume={folder}"),
]


@parametrised(SETTINGS)
def test_unusable_settings_are_one_sentence(case: Case, tmp_path: Path, prepared_sample: Path) -> None:
    command = [word.replace("{data}", str(prepared_sample)) for word in case.arrange]  # type: ignore[union-attr]
    if case.name == "train-resume-missing":
        command = [command[-1]]
    check(Case(case.name, case.what, case.stage, case.says, command), tmp_path)


def write_encoder(folder: Path, vocabulary: object, weights: str) -> None:
    """A local folder as the model hub would give it, of a tiny XLM-R."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    config = XLMRobertaConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, max_position_embeddings=66
    )
    model = XLMRobertaModel(config, add_pooling_layer=False)
    if weights == "safetensors":
        model.save_pretrained(folder)
    else:
        config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}), encoding="utf-8")


PIECES = [[piece, 0.0] for piece in ("<s>", "<pad>", "</s>", "<unk>", "▁", "a", "b", "<mask>")]


def encoder_case(name: str, what: str, says: str, vocabulary: object = PIECES, weights: str = "safetensors", spoil: str = "") -> Case:
    def arrange(folder: Path) -> list[str]:
        write_encoder(folder / "xlmr", vocabulary, weights)
        if spoil:
            content = (folder / "xlmr" / spoil).read_bytes()
            (folder / "xlmr" / spoil).write_bytes(content[: len(content) // 2])
        return [*TINY, "encoder=xlmr_base", f"encoder.path={folder}/xlmr", f"runs_dir={folder}/runs"]

    return Case(name, what, "train", says, arrange)


ENCODERS = [
    encoder_case("encoder-pickled", "an encoder whose weights are pickled", "model.safetensors", weights="pickle"),
    encoder_case("encoder-weights-broken-off", "safetensors that break off", "could not be loaded", spoil="model.safetensors"),
    encoder_case("encoder-config-broken-off", "a config.json that breaks off", "could not be loaded", spoil="config.json"),
    encoder_case("encoder-tokenizer-broken-off", "a tokenizer.json that breaks off", "could not be loaded", spoil="tokenizer.json"),
    encoder_case("encoder-not-unigram", "a tokenizer of another kind", "could not be loaded", vocabulary={"a": 0, "b": 1}),
    encoder_case("encoder-pieces-without-rows", "more pieces than the weights have rows", "could not be loaded", vocabulary=PIECES * 2),
    encoder_case("encoder-too-short", "a longer max_length than the encoder's", "was made for: use at most 64"),
]


@parametrised(ENCODERS)
def test_an_unusable_encoder_is_one_sentence(case: Case, tmp_path: Path, prepared_sample: Path) -> None:
    command = [*case.arrange(tmp_path), f"data_dir={prepared_sample}"]  # type: ignore[operator]
    check(Case(case.name, case.what, case.stage, case.says, command), tmp_path)


def spoilt_data(name: str) -> Any:
    def arrange(folder: Path) -> list[str]:
        table = next((folder / "data" / "sample" / "table").glob("*.arrow"))
        match name:
            case "manifest":
                (folder / "data" / "sample" / "manifest.json").write_text("{", encoding="utf-8")
            case "broken off":
                table.write_bytes(table.read_bytes()[:-5000])
            case "flipped":
                content = bytearray(table.read_bytes())
                content[len(content) // 2] ^= 4
                table.write_bytes(bytes(content))
            case "gone":
                table.unlink()
        return [*TINY, f"data_dir={folder}/data", f"runs_dir={folder}/runs"]

    return arrange


DATA = [
    Case("train-manifest-damaged", "prepared data whose manifest is no JSON", "train", "cannot be read as JSON", spoilt_data("manifest")),
    Case("train-table-broken-off", "a table that breaks off", "train", "is damaged", spoilt_data("broken off")),
    Case("train-table-flipped", "a table with a turned bit", "train", "is not what was published", spoilt_data("flipped")),
    Case("train-table-gone", "a table that is gone", "train", "is damaged", spoilt_data("gone")),
]


@parametrised(DATA)
def test_damaged_data_are_one_sentence(case: Case, tmp_path: Path, prepared_sample: Path) -> None:
    shutil.copytree(prepared_sample / "sample", tmp_path / "data" / "sample")
    check(case, tmp_path)


LOCKED = Case(
    "train-runs-not-writable", "no permission to write to runs_dir", "train", "cannot make the run folder", ["runs_dir={folder}/runs"]
)
READ_ONLY = Case(
    "train-runs-read-only", "runs_dir on a disk that can only be read", "train", "cannot make the run folder", ["runs_dir={folder}/runs"]
)
FULL = Case("train-disk-full", "a disk that fills up while a checkpoint is written", "train", "make room, then go on with", [])


@pytest.mark.parametrize("case", [pytest.param(LOCKED, id=LOCKED.name), pytest.param(READ_ONLY, id=READ_ONLY.name)])
def test_a_place_that_cannot_be_written_is_one_sentence(case: Case, tmp_path: Path, prepared_sample: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o555)
    command = [*TINY, f"data_dir={prepared_sample}", *case.arrange]  # type: ignore[misc]
    case = Case(case.name, case.what, case.stage, case.says, command)
    with without_root() if case.name == LOCKED.name else read_only(tmp_path / "runs"):
        check(case, tmp_path)


def test_a_full_disk_costs_steps_and_no_run(tmp_path: Path) -> None:
    """It says how to go on, and with room to go on in the run ends."""
    prepare_rows(tmp_path, tiny_rows(120))
    settings = tiny_settings(tmp_path, "trainer.max_steps=4", "trainer.checkpoint_minutes=0", "projection.steps=1")
    with small_disk(tmp_path, 9000) as disk:
        settings.runs_dir = str(disk)
        with pytest.raises(UserError, match=FULL.says):
            train(settings)
        (run,) = disk.glob("tiny/2*")
        assert not (run / "run.json").exists()
        moved = Path(shutil.copytree(run, tmp_path / "runs" / "tiny" / run.name))
    assert read_json(train(TrainSettings(resume=str(moved))) / "run.json")["figures"]["steps"] == 4


# ---- a run that was stopped, and what happens to its checkpoints


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight steps that was stopped in the fourth; two whole checkpoints."""
    folder = tmp_path_factory.mktemp("stopped")
    prepare_rows(folder, tiny_rows(160))
    settings = tiny_settings(folder, "trainer.max_steps=8", "trainer.checkpoint_minutes=0", "projection.steps=1")
    with pytest.MonkeyPatch.context() as patch:
        step_end = SafeStops.on_step_end

        def stopping(self: SafeStops, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 4:
                self.signal = signal.SIGTERM
            step_end(self, args, state, control, **kwargs)

        patch.setattr(SafeStops, "on_step_end", stopping)
        with pytest.raises(Interrupted):
            train(settings)
    return next((folder / "runs" / "tiny").glob("2*"))


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    """A copy of the stopped run that a test may spoil."""
    return Path(shutil.copytree(stopped, tmp_path / "runs" / "tiny" / stopped.name))


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))


class Payload:
    """What unpickling would run: it writes a file, where malice would do more."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "this ran")


def pickled(run: Path) -> bytes:
    return pickle.dumps(Payload(run.parent.parent.parent / "ran"), protocol=2)


RESUMED = [
    Case("resume-record-damaged", "an unfinished run whose begun.json breaks off", "train", "cannot be read as JSON", []),
    Case("resume-record-foreign", "a begun.json of another program", "train", "is not what a run of this version writes", []),
    Case("resume-all-damaged", "every checkpoint damaged", "train", "remove the run folder", []),
    Case("resume-with-more", "`resume` beside other settings", "train", "give nothing beside it", []),
    Case(
        "resume-optimizer-pickled", "a checkpoint whose optimizer.pt runs a program when unpickled", "train", "do not trust that folder", []
    ),
    Case("resume-random-state-pickled", "the same in rng_state.pth", "train", "do not trust that folder", []),
    Case("resume-twice", "two processes that resume one run", "train", "another process trains", []),
]


def spoil(name: str, run: Path) -> list[str]:
    """Do to the run what the case is about; returns the command line."""
    command = [f"resume={run}"]
    match name:
        case "resume-record-damaged":
            (run / "begun.json").write_bytes((run / "begun.json").read_bytes()[:100])
        case "resume-record-foreign":
            (run / "begun.json").write_text('{"settings": {"colour": "red"}}', encoding="utf-8")
        case "resume-all-damaged":
            for path in run.glob("checkpoints/*/model.safetensors"):
                path.write_bytes(path.read_bytes()[:-7])
        case "resume-with-more":
            command.append("trainer.epochs=9")
        case "resume-optimizer-pickled" | "resume-random-state-pickled":
            file = "optimizer.pt" if "optimizer" in name else "rng_state.pth"
            (newest(run) / file).write_bytes(pickled(run))
            seal(newest(run))  # whoever can write there can seal it as well
    return command


@parametrised(RESUMED)
def test_a_run_that_cannot_go_on_is_one_sentence(case: Case, run: Path, tmp_path: Path) -> None:
    command = spoil(case.name, run)
    before = snapshot(run)
    with alone_with(run) if case.name == "resume-twice" else contextlib.nullcontext():
        outcome = run_here("train", *command, cwd=tmp_path)
    check_sentence(outcome, case.says)
    assert snapshot(run) == before, "the run is as it was"
    assert not (tmp_path / "ran").exists(), "no program in a checkpoint may run"


@pytest.mark.parametrize("file", ["pytorch_model.bin", "training_args.bin"])
def test_a_pickled_file_beside_the_weights_is_never_opened(file: str, run: Path, tmp_path: Path) -> None:
    """Trainer would take `pytorch_model.bin` where safetensors are missing: here that checkpoint does not count, sealed or not."""
    (newest(run) / file).write_bytes(pickled(run))
    if file == "pytorch_model.bin":
        (newest(run) / "model.safetensors").unlink()
        seal(newest(run))
        outcome = run_here("train", f"resume={run}", cwd=tmp_path)
        check_sentence(outcome, "do not trust that folder")
    else:
        outcome = run_here("train", f"resume={run}", cwd=tmp_path)
        assert outcome.code == 0, outcome.err
        assert "is incomplete or damaged" in outcome.out
    assert not (tmp_path / "ran").exists()


CLOCK = Case(
    "clock-jumps-back",
    "a clock that jumps back between two runs",
    "train",
    "no error: each run keeps a folder of its own, and `latest` is the one that ended last",
    [],
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prepared data and one finished run of one step."""
    folder = tmp_path_factory.mktemp("finished")
    prepare_rows(folder, tiny_rows(120))
    train(tiny_settings(folder, "trainer.max_steps=1", "projection.steps=1"))
    return folder


def test_a_clock_that_jumps_back_changes_no_order(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = (workspace / "runs" / "tiny" / "latest").resolve()
    before = snapshot(first)

    class Earlier(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Earlier":
            return cls(1999, 12, 31, 23, 59, 59, tzinfo=tz)

    monkeypatch.setattr("train.stage.datetime.datetime", Earlier)
    second = train(tiny_settings(workspace, "trainer.max_steps=1", "projection.steps=1"))
    assert second.name.startswith("1999")
    assert (workspace / "runs" / "tiny" / "latest").resolve() == second.resolve()
    assert snapshot(first) == before


def test_a_run_that_ended_while_tidying_up_is_finished_by_resume(workspace: Path, tmp_path: Path) -> None:
    finished = (workspace / "runs" / "tiny" / "latest").resolve()
    folder = Path(shutil.copytree(finished, tmp_path / "runs" / "tiny" / finished.name))
    (folder / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    outcome = run_here("train", f"resume={folder}", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    assert (folder.parent / "latest").resolve() == folder.resolve()
    assert not (folder / "checkpoints").exists()
    check_sentence(run_here("train", f"resume={folder}", cwd=tmp_path), "is finished")


CASES = [*SETTINGS, *ENCODERS, *DATA, LOCKED, READ_ONLY, FULL, *RESUMED, CLOCK]
