"""A warm start uses a published policy's networks, or reports why it cannot."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import DatasetWriter
from qc_core.envs.make import describe
from qc_core.errors import RunError, UsageError
from qc_core.policy_format.data_source import DataSource
from qc_core.registry.parent import pin_parent
from qc_core.registry.registry import Registry
from qc_core.registry.removal import delete_version
from qc_core.store.open import open_store
from qc_core.training.checkpoint import read_checkpoint, weights_digest
from qc_core.training.pretrain import pretrain
from qc_core.training.saved_agent import load_agent, save_checkpoint
from tests.conftest import PENDULUM, random_episodes
from tests.qc_core.registry.policy_folders import write_policy

CPU = torch.device("cpu")


@pytest.fixture
def parent(tmp_path: Path, pendulum_config: Config, pendulum: Path) -> Path:
    """A checkpoint with an observation normalisation that no dataset has."""
    train = replace(pendulum_config.train, normalize_observations=True)
    pretrain(replace(pendulum_config, train=train), pendulum, tmp_path / "fresh")
    agent, saved = load_agent(tmp_path / "fresh", CPU), read_checkpoint(tmp_path / "fresh")
    agent.set_normalization(torch.full((3,), 7.0), torch.full((3,), 3.0))
    save_checkpoint(tmp_path / "parent", agent, saved, [])
    return tmp_path / "parent"


@pytest.fixture
def champion(tmp_path: Path, pendulum_config: Config, parent: Path) -> str:
    """The parent as the champion of its name; returns the version."""
    registry, name = Registry(open_store()), pendulum_config.policy_name
    folder = write_policy(tmp_path / "small", seed=0, weights=weights_digest(parent))
    version = registry.publish(folder, name, checkpoint=parent)
    registry.set_alias(name, "champion", version)
    return version


def warm(config: Config, wanted: str = "champion", **train: object) -> Config:
    train = {"normalize_observations": True, **train}
    return replace(config, train=config.train.changed(warm_start=wanted, **train))


def test_a_warm_start_uses_weights_normalisation_and_moments(
    tmp_path: Path, pendulum_config: Config, pendulum: Path, parent: Path, champion: str
) -> None:
    still = warm(pendulum_config, offline_steps=1, learning_rate=1e-12, tau=1e-12)
    pretrain(still, pendulum, tmp_path / "child")
    before, after = (load_agent(folder, CPU) for folder in (parent, tmp_path / "child"))
    for name, value in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], value)
    assert after.observation_mean.tolist() == [7.0, 7.0, 7.0]
    steps = [agent.optimizer_state()["0.step"].item() for agent in (before, after)]
    assert steps == [4, 5]
    saved = read_checkpoint(tmp_path / "child")
    assert saved.parent == f"{pendulum_config.policy_name}:{champion}"
    assert saved.config.train.warm_start == champion
    # Without the parent's steps.
    assert saved.offline_steps == 1


def test_without_a_champion_training_starts_from_new_weights(
    tmp_path: Path, pendulum_config: Config, pendulum: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(warm(pendulum_config), pendulum, tmp_path / "first")
    assert "has no champion yet: training starts from new weights" in capsys.readouterr().err
    pretrain(warm(pendulum_config, ""), pendulum, tmp_path / "anew")
    first, anew = (load_agent(tmp_path / name, CPU).state_dict() for name in ("first", "anew"))
    assert all(torch.equal(first[name], anew[name]) for name in anew)
    assert read_checkpoint(tmp_path / "first").parent is None


def test_the_parent_stays_the_same_when_the_champion_changes(
    tmp_path: Path, pendulum_config: Config, parent: Path, champion: str
) -> None:
    pinned = pin_parent(warm(pendulum_config))
    registry, name = Registry(open_store()), pendulum_config.policy_name
    folder = write_policy(tmp_path / "newer", seed=1)
    newer = registry.publish(folder, name, checkpoint=parent)
    registry.set_alias(name, "champion", newer)
    assert pin_parent(pinned).train.warm_start == champion
    assert pin_parent(warm(pendulum_config)).train.warm_start == newer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wanted": "stable"}, "no such alias or version"),
        ({"wanted": "20200101T000000-00000000"}, "no such alias or version"),
        ({"hidden_dims": (16,)}, r"was trained with --train.hidden-dims \[8\], got \[16\]"),
        ({"normalize_observations": False}, "--train.normalize-observations True, got False"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    tmp_path: Path,
    pendulum_config: Config,
    pendulum: Path,
    champion: str,
    change: dict[str, object],
    message: str,
) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        pretrain(warm(pendulum_config, **change), pendulum, tmp_path / "child")  # pyright: ignore
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "child").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action_high": (3.0,)}, r"has the action high \(2.0,\), the data \(3.0,\)"),
        ({"control_interval": 0.5}, "has the control interval 0.05, the data 0.5"),
    ],
)
def test_data_with_other_bounds_or_times_are_refused(
    tmp_path: Path,
    pendulum_config: Config,
    champion: str,
    change: dict[str, Any],
    message: str,
) -> None:
    spec = msgspec.structs.replace(describe(PENDULUM), **change)
    writer = DatasetWriter(tmp_path / "data", spec)
    writer.append(random_episodes(spec, [30]))
    writer.finish(DataSource(kind="test"))
    with pytest.raises(UsageError, match=message):
        pretrain(warm(pendulum_config), tmp_path / "data", tmp_path / "child")


def test_a_policy_without_its_checkpoint_is_no_parent(
    tmp_path: Path, pendulum_config: Config
) -> None:
    registry, name = Registry(open_store()), pendulum_config.policy_name
    version = registry.publish(write_policy(tmp_path / "small", seed=0), name)
    registry.set_alias(name, "champion", version)
    with pytest.raises(UsageError, match="published without its checkpoint"):
        pin_parent(warm(pendulum_config))


def test_a_checkpoint_is_not_pulled_and_goes_with_its_version(
    tmp_path: Path, pendulum_config: Config, pendulum: Path, champion: str
) -> None:
    store, name = open_store(), pendulum_config.policy_name
    Registry(store).pull(name, tmp_path / "pulled")
    assert not any("weights" in path.name for path in (tmp_path / "pulled").iterdir())
    pinned = pin_parent(warm(pendulum_config))
    newer = Registry(store).publish(tmp_path / "pulled", name)
    Registry(store).set_alias(name, "champion", newer)
    delete_version(store, name, champion)
    assert not any(champion in key for key in store.keys("policies/"))
    shutil.rmtree(tmp_path / "pulled")
    with pytest.raises(UsageError, match="no such alias or version"):
        pretrain(pinned, pendulum, tmp_path / "child")


def test_an_altered_checkpoint_is_refused(
    tmp_path: Path, pendulum_config: Config, pendulum: Path, champion: str
) -> None:
    prefix = f"policies/{pendulum_config.policy_name}/versions/{champion}/checkpoint/"
    key = prefix + "weights.safetensors"
    content = open_store().get(key)
    open_store().put(key, content[:-1] + b"\x01")
    with pytest.raises(RunError, match=r"weights.safetensors is altered"):
        pretrain(warm(pendulum_config), pendulum, tmp_path / "child")


def test_a_checkpoint_of_other_weights_than_the_policys_is_refused(
    tmp_path: Path, pendulum_config: Config, pendulum: Path, parent: Path
) -> None:
    registry, name = Registry(open_store()), pendulum_config.policy_name
    other = write_policy(tmp_path / "other", seed=1, weights="0" * 64)
    registry.set_alias(name, "champion", registry.publish(other, name, checkpoint=parent))
    with pytest.raises(RunError, match="is altered: its policy has other weights"):
        pretrain(warm(pendulum_config), pendulum, tmp_path / "child")
