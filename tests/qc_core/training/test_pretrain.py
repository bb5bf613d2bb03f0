"""Offline training is repeatable, learns, and stops when it diverges."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qc_core.config.settings import Config, TrainConfig
from qc_core.data.dataset.dataset import DatasetWriter
from qc_core.envs.make import describe
from qc_core.errors import TrainingDiverged, UsageError
from qc_core.files import sha256_of
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from qc_core.training.checkpoint import read_checkpoint, read_curve
from qc_core.training.offline import learning_rate_at
from qc_core.training.policy import AgentPolicy
from qc_core.training.pretrain import pretrain
from qc_core.training.saved_agent import load_agent
from tests.conftest import PENDULUM, random_episodes


def test_the_same_seed_gives_the_same_weights(
    tmp_path: Path, config: Config, dataset: Path, checkpoint: Path
) -> None:
    pretrain(config, dataset, tmp_path / "again")
    pretrain(replace(config, seed=1), dataset, tmp_path / "other")
    for name in ("weights.safetensors", "optimizer.safetensors"):
        assert sha256_of(tmp_path / "again" / name) == sha256_of(checkpoint / name)
        assert sha256_of(tmp_path / "other" / name) != sha256_of(checkpoint / name)


def test_a_checkpoint_contains_configuration_and_progress(config: Config, checkpoint: Path) -> None:
    saved = read_checkpoint(checkpoint)
    assert saved.config == config
    assert (saved.offline_steps, saved.online_steps) == (config.train.offline_steps, 0)
    assert (saved.spec.observation_size, saved.spec.action_size) == (28, 5)
    assert [point["step"] for point in read_curve(checkpoint)] == [2, 4]


def test_data_in_which_nothing_is_rewarded_are_warned_about(
    tmp_path: Path, pendulum_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    episodes = random_episodes(describe(PENDULUM), [30])
    writer = DatasetWriter(tmp_path / "d", describe(PENDULUM))
    writer.append(replace(episodes, rewards=np.full(30, -1, np.float32)))
    writer.finish(DataSource())
    pretrain(pendulum_config, tmp_path / "d", tmp_path / "c")
    assert "WARNING: every reward in the data is -1" in capsys.readouterr().err


def test_training_lowers_the_cloning_loss(tmp_path: Path, config: Config, dataset: Path) -> None:
    train = replace(config.train, offline_steps=300, log_every=100)
    pretrain(replace(config, train=train), dataset, tmp_path / "c")
    losses = [point["actor/bc_loss"] for point in read_curve(tmp_path / "c")]
    assert losses[-1] < losses[0]


def test_the_learning_rate_falls_linearly_or_stays() -> None:
    falling = TrainConfig(learning_rate=1e-3, learning_rate_decay=0.1, offline_steps=5)
    rates = learning_rate_at(torch.arange(1.0, 6.0), falling)
    assert rates.tolist() == pytest.approx([1e-3, 7.75e-4, 5.5e-4, 3.25e-4, 1e-4])
    steady = learning_rate_at(torch.tensor([1.0, 500_000.0, 1_000_000.0]), TrainConfig())
    assert steady.tolist() == pytest.approx([3e-4] * 3)


def test_training_ends_at_the_final_learning_rate(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    train = replace(config.train, learning_rate_decay=1e-9, offline_steps=2)
    for steps in (1, 2):
        one = replace(train, offline_steps=steps)
        pretrain(replace(config, train=one), dataset, tmp_path / str(steps))
    first, second = (
        load_agent(tmp_path / str(steps), torch.device("cpu")).state_dict() for steps in (1, 2)
    )
    # The learning rate of the second update is almost zero: it changes nothing.
    torch.testing.assert_close(first["flow.mlp.weights.0"], second["flow.mlp.weights.0"])


def test_observations_are_normalised_by_the_data(config: Config, checkpoint: Path) -> None:
    assert config.train.normalize_observations
    agent = load_agent(checkpoint, torch.device("cpu"))
    assert 0.8 < agent.observation_std.min() < agent.observation_std.max() < 1.2


def test_divergence_is_reported_in_one_line_and_leaves_no_checkpoint(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    train = replace(config.train, learning_rate=1e30, offline_steps=20)
    with pytest.raises(TrainingDiverged) as diverged:
        pretrain(replace(config, train=train), dataset, tmp_path / "c")
    assert re.fullmatch(
        r"training diverged before update 2: \S+ is (nan|-?inf), finite at update 1 \(.+\); "
        r"the last batch has "
        r"observations -\S+ to \S+, actions -\S+ to \S+, returns -\S+ to \S+; "
        r"lower --train.learning-rate",
        str(diverged.value),
    )
    assert [path.name for path in tmp_path.iterdir()] == ["c.metrics"]


def test_divergence_is_explained_by_the_data_if_their_numbers_are_extreme(
    tmp_path: Path, config: Config, spec: EnvironmentSpec
) -> None:
    episodes = random_episodes(spec, [40, 60])
    episodes.rewards[:] = 1e30
    writer = DatasetWriter(tmp_path / "data", spec)
    writer.append(episodes)
    writer.finish(DataSource(kind="test"))
    with pytest.raises(TrainingDiverged, match="the returns of the data are extreme: correct"):
        pretrain(config, tmp_path / "data", tmp_path / "c")


def test_inputs_that_do_not_fit_are_refused_before_training(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    with pytest.raises(UsageError, match=r"holds rewards for tests\.quick_environment:Quick-v0"):
        pretrain(replace(config, environment="Pendulum-v1"), dataset, tmp_path / "c")
    with pytest.raises(
        UsageError, match="backups over 1000 steps need at least as many transitions"
    ):
        long = replace(config.train, backup_horizon=1000)
        pretrain(replace(config, train=long), dataset, tmp_path / "c")
    with pytest.raises(UsageError, match="is not a dataset folder"):
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
        lambda c: {**c, "schema-version": 4},
        lambda c: {**c, "schema-version": 1},
        lambda c: {**c, "environment": {}},
        lambda c: {**c, "dataset-extent": {"episodes": 1}},
        lambda c: {k: v for k, v in c.items() if k != "online-steps"},
    ],
)
def test_an_invalid_checkpoint_json_is_refused(tmp_path: Path, checkpoint: Path, change) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    (copy / "SHA256SUMS").unlink()
    content = json.loads((copy / "checkpoint.json").read_text())
    (copy / "checkpoint.json").write_text(json.dumps(change(content)))
    with pytest.raises(UsageError) as refusal:
        load_agent(copy, torch.device("cpu"))
    assert "\n" not in str(refusal.value)


def test_a_checkpoint_of_an_earlier_release_is_read(tmp_path: Path, checkpoint: Path) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    (copy / "SHA256SUMS").unlink()
    content = json.loads((copy / "checkpoint.json").read_text())
    content["schema-version"] = 2
    train = content["config"]["train"]
    train["widths"] = train.pop("hidden-dims")
    for added in ("dataset-source", "dataset-extent", "trial", "parent"):
        del content[added]
    train = content["config"]["train"]
    train["target-rate"] = train.pop("tau")
    (copy / "checkpoint.json").write_text(json.dumps({**content, "unknown": 1}))
    saved, now = read_checkpoint(copy), read_checkpoint(checkpoint)
    assert (saved.config, saved.spec, saved.offline_steps) == (now.config, now.spec, 4)
    assert (saved.dataset_source, saved.dataset_extent, saved.trial) == (None, None, None)


def test_a_damaged_checkpoint_is_named_in_the_error(tmp_path: Path, checkpoint: Path) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UsageError, match=r"weights\.safetensors is damaged: its checksum"):
        load_agent(copy, torch.device("cpu"))
    (copy / "SHA256SUMS").unlink()
    with pytest.raises(UsageError, match=r"weights\.safetensors is missing or damaged"):
        load_agent(copy, torch.device("cpu"))
    with pytest.raises(UsageError, match="is not a checkpoint folder"):
        load_agent(tmp_path / "none", torch.device("cpu"))


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors"])
def test_a_flipped_bit_is_noticed(tmp_path: Path, checkpoint: Path, name: str) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    content = bytearray((copy / name).read_bytes())
    content[-5] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"{name} is damaged: its checksum"):
        load_agent(copy, torch.device("cpu"))


def test_permissions_of_a_checkpoint_follow_the_umask(
    tmp_path: Path, config: Config, dataset: Path
) -> None:
    before = os.umask(0o027)
    try:
        pretrain(config, dataset, tmp_path / "shared")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "shared").iterdir()}
    assert ((tmp_path / "shared").stat().st_mode & 0o777, modes) == (0o750, {0o640})


def test_an_agent_has_a_learned_and_a_bc_policy(checkpoint: Path) -> None:
    import numpy as np

    agent = load_agent(checkpoint, torch.device("cpu"))
    observation, noise = np.ones((3, 28), np.float32), np.ones((3, 25), np.float32)
    learned = AgentPolicy(agent, "learned")(observation, noise)
    bc = AgentPolicy(agent, "bc")(observation, noise)
    assert learned.shape == bc.shape == (3, 5, 5)
    assert not np.allclose(learned, bc)


def test_curves_of_earlier_releases_are_read_under_the_new_names(tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_text(
        "step,actor/cloning_loss,validation/cloning_loss\n10,0.5,0.25\n"
    )
    expected = {"step": 10, "actor/bc_loss": 0.5, "validation/bc_loss": 0.25}
    assert read_curve(tmp_path) == [expected]
