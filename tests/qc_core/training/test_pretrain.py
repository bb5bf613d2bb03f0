"""Offline training is repeatable, learns, and stops when it diverges."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qc_core.config.settings import Config, TrainConfig
from qc_core.errors import RunError, UsageError
from qc_core.files import sha256_of
from qc_core.training.checkpoint import load_agent, read_curve, read_info
from qc_core.training.offline import learning_rate_at
from qc_core.training.policy import AgentPolicy
from qc_core.training.pretrain import pretrain


def test_the_same_seed_gives_the_same_weights(
    tmp_path: Path, config: Config, dataset: Path, checkpoint: Path
) -> None:
    pretrain(config, dataset, tmp_path / "again")
    pretrain(replace(config, seed=1), dataset, tmp_path / "other")
    for name in ("weights.safetensors", "optimizer.safetensors"):
        assert sha256_of(tmp_path / "again" / name) == sha256_of(checkpoint / name)
        assert sha256_of(tmp_path / "other" / name) != sha256_of(checkpoint / name)


def test_a_checkpoint_says_what_is_behind_it(config: Config, checkpoint: Path) -> None:
    info = read_info(checkpoint)
    assert info.config == config
    assert (info.offline_steps, info.online_steps) == (config.train.offline_steps, 0)
    assert (info.spec.observation_size, info.spec.action_size) == (28, 5)
    assert [point["step"] for point in read_curve(checkpoint)] == [2, 4]


def test_training_lowers_the_cloning_loss(tmp_path: Path, config: Config, dataset: Path) -> None:
    train = replace(config.train, offline_steps=300, log_every=100)
    pretrain(replace(config, train=train), dataset, tmp_path / "c")
    losses = [point["actor/cloning_loss"] for point in read_curve(tmp_path / "c")]
    assert losses[-1] < losses[0]


def test_the_rate_falls_linearly_or_stays() -> None:
    falling = TrainConfig(learning_rate=1e-3, learning_rate_decay=0.1, offline_steps=5)
    rates = learning_rate_at(torch.arange(1.0, 6.0), falling)
    assert rates.tolist() == pytest.approx([1e-3, 7.75e-4, 5.5e-4, 3.25e-4, 1e-4])
    steady = learning_rate_at(torch.tensor([1.0, 500_000.0, 1_000_000.0]), TrainConfig())
    assert steady.tolist() == pytest.approx([3e-4] * 3)


def test_training_ends_at_the_fallen_rate(tmp_path: Path, config: Config, dataset: Path) -> None:
    train = replace(config.train, learning_rate_decay=1e-9, offline_steps=2)
    for steps in (1, 2):
        one = replace(train, offline_steps=steps)
        pretrain(replace(config, train=one), dataset, tmp_path / str(steps))
    first, second = (
        load_agent(tmp_path / str(steps), torch.device("cpu")).state_dict() for steps in (1, 2)
    )
    # The second update, at a rate of all but zero, changes nothing that the first has done.
    torch.testing.assert_close(first["flow.mlp.weights.0"], second["flow.mlp.weights.0"])


def test_observations_are_normalised_by_the_data(config: Config, checkpoint: Path) -> None:
    assert config.train.normalize_observations
    agent = load_agent(checkpoint, torch.device("cpu"))
    assert 0.8 < agent.observation_std.min() < agent.observation_std.max() < 1.2


def test_divergence_is_said_in_one_line_and_leaves_no_checkpoint(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    train = replace(config.train, learning_rate=1e30, offline_steps=20)
    with pytest.raises(RunError, match=r"diverged.*lower --train.learning-rate"):
        pretrain(replace(config, train=train), dataset, tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_refused_before_training(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    with pytest.raises(UsageError, match="holds rewards for cube-single"):
        pretrain(replace(config, environment="Pendulum-v1"), dataset, tmp_path / "c")
    with pytest.raises(
        UsageError, match="backups over 1000 steps need at least as many transitions"
    ):
        long = replace(config.train, backup_horizon=1000)
        pretrain(replace(config, train=long), dataset, tmp_path / "c")
    with pytest.raises(UsageError, match="is not a data set folder"):
        pretrain(config, tmp_path / "none", tmp_path / "c")
    with pytest.raises(UsageError, match="in use"):
        pretrain(config, dataset, dataset)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: [],
        lambda c: {**c, "config": 3},
        lambda c: {k: v for k, v in c.items() if k != "config"},
        lambda c: {**c, "config": {**c["config"], "train": 3}},
        lambda c: {**c, "config": {**c["config"], "train": {"backup-horizon": "five"}}},
        lambda c: {**c, "config": {**c["config"], "train": {"nonsense": 1}}},
        lambda c: {**c, "config": {**c["config"], "train": {"hidden-dims": [8, 8]}}},
    ],
)
def test_a_checkpoint_json_of_another_shape_is_refused(
    tmp_path: Path, checkpoint: Path, change
) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    content = json.loads((copy / "checkpoint.json").read_text())
    (copy / "checkpoint.json").write_text(json.dumps(change(content)))
    with pytest.raises(UsageError) as refusal:
        load_agent(copy, torch.device("cpu"))
    assert "\n" not in str(refusal.value)


def test_a_damaged_checkpoint_is_named(tmp_path: Path, checkpoint: Path) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UsageError, match=r"weights\.safetensors is missing or damaged"):
        load_agent(copy, torch.device("cpu"))
    with pytest.raises(UsageError, match="is not a checkpoint folder"):
        load_agent(tmp_path / "none", torch.device("cpu"))


def test_an_agent_plays_both_its_policies(checkpoint: Path) -> None:
    import numpy as np

    agent = load_agent(checkpoint, torch.device("cpu"))
    observation, noise = np.ones((3, 28), np.float32), np.ones((3, 25), np.float32)
    learned = AgentPolicy(agent, "learned")(observation, noise)
    cloned = AgentPolicy(agent, "bc")(observation, noise)
    assert learned.shape == cloned.shape == (3, 5, 5)
    assert not np.allclose(learned, cloned)
