"""An interrupted training resumes from its local checkpoint with the same result."""

import resource
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from qc_core import interruption
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import DatasetWriter
from qc_core.errors import TrainingDiverged, UsageError
from qc_core.files import sha256_of
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from qc_core.progress import Progress
from qc_core.training import offline, pretrain
from qc_core.training.checkpoint import OPTIMIZER, TRAINING, WEIGHTS, read_checkpoint, read_curve
from qc_core.training.checkpoint_schedule import CheckpointSchedule
from qc_core.training.checkpoint_store import CheckpointStore
from qc_core.training.local_checkpoints import LocalCheckpoints
from qc_core.training.saved_agent import load_agent
from tests.conftest import random_episodes
from tests.qc_core.training.interrupt import Interrupt, save_after_each_step


@pytest.fixture(autouse=True)
def checkpoint_after_each_update(monkeypatch: pytest.MonkeyPatch) -> None:
    save_after_each_step(monkeypatch)


def interrupt(config: Config, dataset: Path, output: Path, update: int) -> Path:
    """Interrupt a training in one of its updates; return its checkpoint folder."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "update", Interrupt(at=update))
        pretrain.pretrain(config, dataset, output)
    assert not output.exists()
    return output.with_name(f"{output.name}.partial")


@pytest.fixture
def interrupted(tmp_path: Path, config: Config, dataset: Path) -> Path:
    """Checkpoints of a training that was interrupted in its fourth and last update."""
    return interrupt(config, dataset, tmp_path / "offline", 4)


def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path,
    config: Config,
    dataset: Path,
    checkpoint: Path,
    interrupted: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert {path.name for path in interrupted.iterdir()} == {"checkpoint-2", "checkpoint-3"}
    # A process that ends while it writes leaves an incomplete folder, which is ignored.
    shutil.copytree(interrupted / "checkpoint-3", interrupted / ".checkpoint-4.abc")
    # The observation normalisation comes from the checkpoint.
    monkeypatch.delattr(offline, "observation_statistics")
    pretrain.pretrain(config, dataset, tmp_path / "offline")
    assert "pretraining resumes from step 3" in capsys.readouterr().err
    for name in (WEIGHTS, OPTIMIZER):
        assert sha256_of(tmp_path / "offline" / name) == sha256_of(checkpoint / name)
    assert read_checkpoint(tmp_path / "offline") == read_checkpoint(checkpoint)
    points = read_curve(tmp_path / "offline")
    assert [point["step"] for point in points] == [2, 4]
    assert points[0]["seconds"] < points[1]["seconds"]
    assert not (tmp_path / "offline" / TRAINING).exists()
    assert {path.name for path in tmp_path.iterdir()} == {"offline", "offline.metrics"}


def test_a_training_can_be_interrupted_repeatedly(
    tmp_path: Path, config: Config, dataset: Path, checkpoint: Path
) -> None:
    for _ in range(3):
        interrupt(config, dataset, tmp_path / "offline", 2)
    pretrain.pretrain(config, dataset, tmp_path / "offline")
    assert sha256_of(tmp_path / "offline" / WEIGHTS) == sha256_of(checkpoint / WEIGHTS)


def test_resume_with_other_options_or_data_is_refused(
    tmp_path: Path, config: Config, dataset: Path, interrupted: Path, spec: EnvironmentSpec
) -> None:
    train = replace(config.train, learning_rate=0.5)
    with pytest.raises(
        UsageError, match=r"started with --train\.learning-rate 0\.001: give the same"
    ):
        pretrain.pretrain(replace(config, train=train), dataset, tmp_path / "offline")
    with pytest.raises(UsageError, match=r"started with --train\.method qc-fql, .*alpha"):
        other = replace(config, train=config.train.changed(method="qc"))
        pretrain.pretrain(other, dataset, tmp_path / "offline")
    writer = DatasetWriter(tmp_path / "other", spec)
    writer.append(random_episodes(spec, [40, 60], seed=7))
    writer.finish(DataSource(kind="test"))
    with pytest.raises(UsageError, match="started on a dataset with digest"):
        pretrain.pretrain(config, tmp_path / "other", tmp_path / "offline")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: cut(c / WEIGHTS),
        lambda c: cut(c / OPTIMIZER),
        lambda c: cut(c / TRAINING),
        lambda c: (c / TRAINING).unlink(),
        lambda c: cut(c / "checkpoint.json"),
        lambda c: (c / "curve.csv").unlink(),
        lambda c: (c / WEIGHTS).rename(c / TRAINING),
        lambda c: (c / OPTIMIZER).replace(c / TRAINING),
        lambda c: (c / "checkpoint.json").write_text(
            (c / "checkpoint.json").read_text().replace('"offline-steps": 3', '"offline-steps": 2')
        ),
    ],
)
def test_damaged_checkpoint_is_reported_in_one_line_with_a_remedy(
    tmp_path: Path,
    config: Config,
    dataset: Path,
    interrupted: Path,
    spoil: Callable[[Path], object],
) -> None:
    shutil.rmtree(interrupted / "checkpoint-2")
    spoil(interrupted / "checkpoint-3")
    message = r"cannot resume from .*offline\.partial.*: .*; delete it to start over"
    with pytest.raises(UsageError, match=message) as refusal:
        pretrain.pretrain(config, dataset, tmp_path / "offline")
    assert "\n" not in str(refusal.value)
    shutil.rmtree(interrupted)
    pretrain.pretrain(config, dataset, tmp_path / "offline")


@pytest.mark.parametrize("name", [WEIGHTS, OPTIMIZER, TRAINING, "checkpoint.json", "curve.csv"])
def test_a_training_resumes_from_the_checkpoint_before_a_damaged_one(
    tmp_path: Path,
    config: Config,
    dataset: Path,
    checkpoint: Path,
    interrupted: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = bytearray((interrupted / "checkpoint-3" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (interrupted / "checkpoint-3" / name).write_bytes(content)
    pretrain.pretrain(config, dataset, tmp_path / "offline")
    log = capsys.readouterr().err
    assert f"does not resume from checkpoint-3: {interrupted}/checkpoint-3/{name} is damaged" in log
    assert "pretraining resumes from step 2" in log
    assert sha256_of(tmp_path / "offline" / WEIGHTS) == sha256_of(checkpoint / WEIGHTS)


def test_a_signal_saves_the_training_before_it_ends(
    tmp_path: Path,
    config: Config,
    dataset: Path,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CheckpointSchedule, "due", False)
    before = signal.getsignal(signal.SIGTERM)
    for name in ("_requested", "_requested_at", "_raised_at"):
        monkeypatch.setattr(interruption, name, getattr(interruption, name))
    interruption.raise_on(signal.SIGTERM)
    try:
        with monkeypatch.context() as patch, pytest.raises(interruption.Interrupted) as stop:
            patch.setattr(Progress, "update", lambda *_: signal.raise_signal(signal.SIGTERM))
            pretrain.pretrain(config, dataset, tmp_path / "offline")
        assert stop.value.exit_code == 143
        assert stop.value.line == "interrupted by SIGTERM: pretraining is saved at step 1"
    finally:
        signal.signal(signal.SIGTERM, before)
    (saved,) = (tmp_path / "offline.partial").iterdir()
    assert read_checkpoint(saved).offline_steps == 1
    monkeypatch.setattr(interruption, "_requested", None)
    pretrain.pretrain(config, dataset, tmp_path / "offline")
    assert sha256_of(tmp_path / "offline" / WEIGHTS) == sha256_of(checkpoint / WEIGHTS)


def test_training_continues_if_a_checkpoint_cannot_be_saved(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent, saved = load_agent(checkpoint, torch.device("cpu")), read_checkpoint(checkpoint)
    backend = LocalCheckpoints(tmp_path / "offline.partial")
    store = CheckpointStore(backend, "the training")
    store.try_save(agent, saved, [], {})
    complete = next(backend.saved())
    assert read_checkpoint(complete) == saved
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        store.try_save(agent, msgspec.structs.replace(saved, offline_steps=5), [], {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = "the training continues without a new checkpoint, saving failed"
    assert message in capsys.readouterr().err
    assert CheckpointStore(backend, "the training").newest == complete


def test_a_folder_with_other_files_is_refused(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    theirs = tmp_path / "offline.partial" / "notes.txt"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    with pytest.raises(UsageError, match="contains other files: move it away"):
        pretrain.pretrain(config, dataset, tmp_path / "offline")
    assert theirs.read_text() == "mine"


def test_a_diverged_training_leaves_its_last_good_checkpoint(
    tmp_path: Path, config: Config, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learning rate grows until the training diverges."""
    steps: list[int] = []

    def growing(step: torch.Tensor, _: object) -> torch.Tensor:
        steps.append(int(step))
        return torch.tensor(1e30 if len(steps) > 10 else 1e-4)

    monkeypatch.setattr("qc_core.training.offline.learning_rate_at", growing)
    monkeypatch.setattr(CheckpointSchedule, "due", True)
    train = replace(config.train, offline_steps=20, log_every=20, learning_rate_decay=0.5)
    long = replace(config, train=train)
    with pytest.raises(TrainingDiverged) as diverged:
        pretrain.pretrain(long, dataset, tmp_path / "offline")
    saved = tmp_path / "offline.partial" / "checkpoint-11"
    assert f"the last checkpoint before it is {saved}: give --fresh" in str(diverged.value)
    assert all(
        value.isfinite().all()
        for value in load_agent(saved, torch.device("cpu")).state_dict().values()
    )
