"""A training that is broken off goes on as if it had not been."""

import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import DatasetWriter
from qc_core.errors import RunError, UsageError
from qc_core.files import sha256_of
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from qc_core.progress import Progress
from qc_core.training import checkpoint_store as resume
from qc_core.training import offline, pretrain
from qc_core.training.checkpoint import (
    OPTIMIZER,
    TRAINING,
    WEIGHTS,
    load_agent,
    read_curve,
    read_info,
)
from qc_core.training.local_checkpoints import LocalCheckpointStore
from tests.conftest import random_episodes
from tests.qc_core.training.interrupt import Interrupt


@pytest.fixture(autouse=True)
def kept_after_each_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "_STRETCH", 1)
    monkeypatch.setattr(resume, "_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(resume, "_SHARE_OF_TIME", float("inf"))


def break_off(config: Config, dataset: Path, output: Path, update: int) -> Path:
    """Interrupt a training in one of its updates; gives the folder that it leaves."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "update", Interrupt(at=update))
        pretrain.pretrain(config, dataset, output)
    assert not output.exists()
    return output.with_name(f"{output.name}.partial")


@pytest.fixture
def broken_off(tmp_path: Path, config: Config, dataset: Path) -> Path:
    """What a training leaves that was interrupted in its fourth and last update."""
    return break_off(config, dataset, tmp_path / "offline", 4)


def test_a_broken_off_training_ends_with_the_same_weights(
    tmp_path: Path,
    config: Config,
    dataset: Path,
    checkpoint: Path,
    broken_off: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert [path.name for path in broken_off.iterdir()] == ["checkpoint-3"]
    # A process that ended while it wrote leaves a part, which nobody takes for a checkpoint.
    shutil.copytree(broken_off / "checkpoint-3", broken_off / ".checkpoint-4.abc")
    # The scale of the observations is the checkpoint's.
    monkeypatch.delattr(offline, "observation_statistics")
    pretrain.pretrain(config, dataset, tmp_path / "offline")
    assert "going on from update 3" in capsys.readouterr().err
    for name in (WEIGHTS, OPTIMIZER):
        assert sha256_of(tmp_path / "offline" / name) == sha256_of(checkpoint / name)
    assert read_info(tmp_path / "offline") == read_info(checkpoint)
    points = read_curve(tmp_path / "offline")
    assert [point["step"] for point in points] == [2, 4]
    assert points[0]["seconds"] < points[1]["seconds"]
    assert not (tmp_path / "offline" / TRAINING).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["offline"]


def test_a_training_may_be_broken_off_again_and_again(
    tmp_path: Path, config: Config, dataset: Path, checkpoint: Path
) -> None:
    for _ in range(3):
        break_off(config, dataset, tmp_path / "offline", 2)
    pretrain.pretrain(config, dataset, tmp_path / "offline")
    assert sha256_of(tmp_path / "offline" / WEIGHTS) == sha256_of(checkpoint / WEIGHTS)


def test_other_options_or_other_data_are_refused(
    tmp_path: Path, config: Config, dataset: Path, broken_off: Path, spec: EnvironmentSpec
) -> None:
    train = replace(config.train, learning_rate=0.5)
    with pytest.raises(
        UsageError, match=r"begun with --train\.learning-rate 0\.001: give the same"
    ):
        pretrain.pretrain(replace(config, train=train), dataset, tmp_path / "offline")
    writer = DatasetWriter(tmp_path / "other", spec)
    writer.append(random_episodes(spec, [40, 60], seed=7))
    writer.finish(DataSource(kind="test"))
    with pytest.raises(UsageError, match="begun on a data set with digest"):
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
def test_damage_is_one_line_that_says_what_to_do(
    tmp_path: Path, config: Config, dataset: Path, broken_off: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(broken_off / "checkpoint-3")
    message = r"offline\.partial cannot be gone on from: .* deleting it"
    with pytest.raises(UsageError, match=message) as no:
        pretrain.pretrain(config, dataset, tmp_path / "offline")
    assert "\n" not in str(no.value)
    shutil.rmtree(broken_off)
    pretrain.pretrain(config, dataset, tmp_path / "offline")


def test_where_it_cannot_be_kept_training_goes_on(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent, info = load_agent(checkpoint, torch.device("cpu")), read_info(checkpoint)
    kept = LocalCheckpointStore(tmp_path / "offline")
    kept.keep(agent, info, [], {})
    whole = kept.checkpoint
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        kept.keep(agent, replace(info, offline_steps=5), [], {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "the training goes on, though it cannot be kept now" in capsys.readouterr().err
    assert kept.checkpoint == whole
    assert LocalCheckpointStore(tmp_path / "offline").checkpoint == whole


def test_somebody_elses_folder_is_left_alone(tmp_path: Path, config: Config, dataset: Path) -> None:
    theirs = tmp_path / "offline.partial" / "notes.txt"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    with pytest.raises(UsageError, match="holds something else: move it away"):
        pretrain.pretrain(config, dataset, tmp_path / "offline")
    assert theirs.read_text() == "mine"


def test_a_training_that_diverged_is_not_gone_on_with(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    train = replace(config.train, learning_rate=1e30, offline_steps=20)
    with pytest.raises(RunError, match="diverged"):
        pretrain.pretrain(replace(config, train=train), dataset, tmp_path / "offline")
    assert list(tmp_path.iterdir()) == []
