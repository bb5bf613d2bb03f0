"""Online training mixes batches, explores as configured, and can be resumed."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qc_core.agents.make import make_agent
from qc_core.agents.sac import SACAgent
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import Dataset, open_dataset
from qc_core.errors import TrainingDiverged, UsageError
from qc_core.training.online import OnlineTraining
from qc_core.training.policy import ExplorationPolicy

CPU = torch.device("cpu")


def training(config: Config, dataset: Path, **train) -> OnlineTraining:
    data: Dataset = open_dataset(dataset)
    chosen = replace(config, train=config.train.changed(**train))
    torch.manual_seed(0)
    agent = make_agent(28, 5, chosen.train)
    return OnlineTraining(chosen, agent, data, CPU, trial=0)


def weights(run: OnlineTraining) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.agent.state_dict().items()}


def test_rlpd_draws_its_share_of_each_batch_from_the_data_set(
    config: Config, dataset: Path
) -> None:
    with training(config, dataset, method="rlpd", batch_size=40, offline_fraction=0.25) as run:
        run.run(3, lambda *_: None)
        batch = run.draw_batch()
        held = {tuple(row) for row in open_dataset(dataset).observations.tolist()}
        from_data = [tuple(row) in held for row in batch.observations_BO.tolist()]
        assert (len(from_data), sum(from_data)) == (40, 10)


def test_the_flow_family_draws_from_one_buffer(config: Config, dataset: Path) -> None:
    with training(config, dataset, method="fql", batch_size=600) as run:
        run.run(4, lambda *_: None)
        held = {tuple(row) for row in open_dataset(dataset).observations.tolist()}
        rows = run.draw_batch().observations_BO.tolist()
        online = sum(tuple(row) not in held for row in rows)
        # 4 of 154 transitions are online ones.
        assert 0 < online < 60


def test_rlpd_explores_uniformly_until_learning_starts(config: Config, dataset: Path) -> None:
    """Uniform chunks do not depend on the observation, the policy's do."""
    with training(config, dataset, method="rlpd-ac") as run:
        policy = ExplorationPolicy(run.agent)
        noise = np.random.default_rng(0).standard_normal((2000, 25), dtype=np.float32)
        observations = np.random.default_rng(1).normal(size=(2000, 28)).astype(np.float32)
        policy.uniform = True
        uniform = policy(observations, noise)
        np.testing.assert_array_equal(uniform, policy(observations * 2, noise))
        edges = np.histogram(uniform, bins=4, range=(-1, 1))[0] / uniform.size
        np.testing.assert_allclose(edges, 0.25, atol=0.01)
        policy.uniform = False
        assert not np.array_equal(policy(observations, noise), policy(observations * 2, noise))


def test_uniform_exploration_ends_when_learning_begins(config: Config, dataset: Path) -> None:
    """The policy saturates every action, so that the buffer shows which actions were uniform."""
    options = {"learning_starts": 10, "online_steps": 16, "learning_rate": 1e-12}
    with training(config, dataset, method="rlpd", **options) as run:
        assert isinstance(run.agent, SACAgent)
        with torch.no_grad():
            run.agent.actor.mean.biases[0].fill_(50.0)
        run.run(16, lambda *_: None)
        actions = run.state()["replay.actions"]
    limit = 1 - 1e-5
    assert actions[:10].abs().max() < limit
    assert actions[10:].min() == pytest.approx(limit)


def test_shards_take_turns_online_if_batches_are_mixed(config: Config, dataset: Path) -> None:
    sharded = replace(config, data=replace(config.data, shard_size=60, shard_updates=1))
    with training(sharded, dataset, method="rlpd", batch_size=400) as run:
        seen: set[tuple[float, ...]] = set()
        held = {tuple(row) for row in open_dataset(dataset).observations.tolist()}
        for step in range(1, 7):
            run.run(step, lambda *_: None)
            rows = {tuple(row) for row in run.draw_batch().observations_BO.tolist()}
            assert len(rows & held) <= 100
            seen |= rows & held
        assert len(seen) > 110


@pytest.mark.parametrize("method", ["qc-fql", "rlpd"])
def test_a_restored_training_has_the_same_weights_and_transitions(
    config: Config, dataset: Path, method: str
) -> None:
    def made() -> OnlineTraining:
        return training(config, dataset, method=method, learning_starts=2, online_steps=12)

    with made() as first, made() as second:
        first.run(6, lambda *_: None)
        second.agent.load_state_dict(first.agent.state_dict())
        second.restore(first.state())
        assert second.step == 6
        # Both abandon the running episode: the next episode and the batches are the same.
        first.restore(first.state())
        mine, theirs = first.draw_batch(), second.draw_batch()
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
        second.run(8, lambda *_: None)
        assert second.step == 8


def test_nothing_is_learned_before_there_is_a_complete_window(
    config: Config, dataset: Path
) -> None:
    with training(config, dataset, method="qc-rlpd", learning_starts=0) as run:
        before = weights(run)
        run.run(4, lambda *_: None)
        assert all(torch.equal(before[name], value) for name, value in weights(run).items())
        run.run(5, lambda *_: None)
        assert not all(torch.equal(before[name], value) for name, value in weights(run).items())


def test_a_buffer_too_small_for_the_data_is_refused(config: Config, dataset: Path) -> None:
    with pytest.raises(UsageError, match=r"--train\.replay-capacity must be at least 151"):
        training(config, dataset, replay_capacity=100)


def test_divergence_is_named_before_an_environment_is_blamed_for_it(
    config: Config, dataset: Path
) -> None:
    options = {"learning_rate": 1e30, "learning_starts": 0, "online_steps": 40}
    with (
        training(config, dataset, method="fql", **options) as run,
        pytest.raises(TrainingDiverged) as diverged,
    ):
        run.run(40, lambda *_: None)
    assert re.match(
        r"training diverged before update \d+: an action is not finite.*; the last batch has .*"
        r"lower --train\.online-learning-rate$",
        str(diverged.value),
    )
