"""A new method needs a settings class, an agent and a row in METHODS, and nothing else.

The method here is implicit Q-learning (arXiv 2110.06169) with a flow policy: three losses, two
optimisers, a value network, and noise of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from msgspec import Meta
from safetensors.torch import load_file, save_file
from torch import Tensor

from qc_core.agents.agent import Agent, LaggingCopy, Loss, LossFunction
from qc_core.agents.losses import flow_point
from qc_core.agents.make import make_agent
from qc_core.agents.optimizers import Optimizers, make_adam
from qc_core.config.methods import METHODS, AlgorithmSettings, Method
from qc_core.config.options import options
from qc_core.config.settings import Config, TrainConfig
from qc_core.data.replay.windows import Windows
from qc_core.errors import UsageError
from qc_core.export.export import export
from qc_core.networks.flow import VelocityField, integrate
from qc_core.networks.mlp import MLP
from qc_core.runtime import ChunkPolicy
from qc_core.training.checkpoint import OPTIMIZER, read_checkpoint, read_curve
from qc_core.training.fine_tune import fine_tune
from qc_core.training.policy import AgentPolicy
from qc_core.training.pretrain import pretrain
from qc_core.training.saved_agent import load_agent, save_checkpoint

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class IQLSettings(AlgorithmSettings):
    """Implicit Q-learning."""

    expectile: Annotated[float, Meta(description="Expectile of the value loss.")] = 0.9
    advantage_weight: Annotated[float, Meta(description="Inverse temperature.")] = 3.0


@dataclass(frozen=True, slots=True)
class IQLNoise:
    x0_BL: Tensor
    time_B1: Tensor


class IQLAgent(Agent[IQLSettings, IQLNoise]):
    def __init__(self, observation_size: int, action_size: int, config: TrainConfig) -> None:
        super().__init__(observation_size, action_size, config)

        def critics() -> MLP:
            inputs = observation_size + self.chunk_size
            return MLP(inputs, config.hidden_dims, 1, norm="after", members=config.num_critics)

        self.value = MLP(observation_size, config.hidden_dims, 1, norm="after")
        self.critic, self.target_critic = critics(), critics()
        self.target_critic.load_state_dict(self.critic.state_dict())
        self.target_critic.requires_grad_(False)
        self.flow = VelocityField(observation_size, self.chunk_size, config.hidden_dims)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.chunk_size,)

    def choose(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        return integrate(self.flow.condition(observation_BO), noise, flow_steps=2)

    def draw_noise(self, batch_size: int, generator: torch.Generator) -> IQLNoise:
        return IQLNoise(
            torch.randn(batch_size, self.chunk_size, generator=generator),
            torch.rand(batch_size, 1, generator=generator),
        )

    def losses(self, windows: Windows, noise: IQLNoise) -> list[LossFunction]:
        return [
            partial(self.value_loss, windows),
            partial(self.critic_loss, windows),
            partial(self.policy_loss, windows, noise),
        ]

    def advantage(self, windows: Windows) -> Tensor:
        inputs = torch.cat([windows.observations_BO, self.data_chunk(windows)], dim=-1)
        with torch.no_grad():
            target_value_B = self.target_critic(inputs).squeeze(-1).amin(0)
        return target_value_B - self.value(windows.observations_BO).squeeze(-1)

    def value_loss(self, windows: Windows) -> Loss:
        advantage_B = self.advantage(windows)
        expectile_B = (self.settings.expectile - (advantage_B < 0).float()).abs()
        value = (expectile_B * advantage_B**2).mean()
        return Loss("value", value, [*self.value.parameters()])

    def critic_loss(self, windows: Windows) -> Loss:
        inputs = torch.cat([windows.observations_BO, self.data_chunk(windows)], dim=-1)
        with torch.no_grad():
            next_value_B = self.value(windows.next_observations_BO).squeeze(-1)
            target_B = windows.returns_B + windows.bootstrap_B * next_value_B
        value = ((self.critic(inputs).squeeze(-1) - target_B) ** 2).mean()
        return Loss("critic", value, [*self.critic.parameters()], {"target": target_B.mean()})

    def policy_loss(self, windows: Windows, noise: IQLNoise) -> Loss:
        observation_BO, x1_BL = windows.observations_BO, self.data_chunk(windows)
        x_BL = flow_point(noise.x0_BL, x1_BL, noise.time_B1)
        error_BL = self.flow(observation_BO, x_BL, noise.time_B1) - (x1_BL - noise.x0_BL)
        advantage_B = self.advantage(windows).detach()
        weight_B = (self.settings.advantage_weight * advantage_B).exp().clamp(max=100)
        value = (weight_B * (error_BL**2).mean(-1)).mean()
        return Loss("policy", value, [*self.flow.parameters()])

    def lagging_copies(self) -> list[LaggingCopy]:
        return [LaggingCopy(self.critic, self.target_critic, self.config.tau)]

    def make_optimizers(self) -> Optimizers:
        rate = self.config.learning_rate
        values = [*self.value.parameters(), *self.critic.parameters()]
        return {
            "values": make_adam(values, rate),
            "policy": make_adam(self.flow.parameters(), rate),
        }


ROW = Method(f"{__name__}:IQLAgent", IQLSettings(), chunked=True, multi_step=True)
if parent_process() is not None:
    # Processes that play episodes import this module to read the settings, without the fixture.
    METHODS["iql"] = ROW


@pytest.fixture
def iql_config(monkeypatch: pytest.MonkeyPatch, pendulum_config: Config) -> Iterator[Config]:
    """The pendulum's configuration for the new method, registered for one test."""
    monkeypatch.setitem(METHODS, "iql", ROW)
    options.cache_clear()
    train = pendulum_config.train.changed(method="iql", expectile=0.8)
    yield replace(pendulum_config, train=train)
    options.cache_clear()


def random_windows(train: TrainConfig, observation: int, action: int) -> Windows:
    torch.manual_seed(1)
    batch, steps = 16, train.backup_steps
    return Windows(
        observations_BO=torch.randn(batch, observation),
        actions_BHA=torch.rand(batch, steps, action) * 2 - 1,
        returns_B=torch.randn(batch),
        bootstrap_B=torch.full((batch,), 0.9),
        next_observations_BO=torch.randn(batch, observation),
        valid_BH=torch.ones(batch, steps),
        weight_B=torch.ones(batch),
    )


def test_new_method_pretrains_fine_tunes_exports_and_plays(
    tmp_path: Path, iql_config: Config, pendulum: Path
) -> None:
    pretrain(iql_config, pendulum, tmp_path / "offline")
    assert read_checkpoint(tmp_path / "offline").config == iql_config
    point = read_curve(tmp_path / "offline")[-1]
    assert {"value/loss", "critic/loss", "critic/target", "policy/loss"} <= set(point)

    tuned = fine_tune(iql_config, tmp_path / "offline", pendulum, trial=0, on_score=lambda _: None)
    save_checkpoint(tmp_path / "online", tuned.agent, tuned.checkpoint, tuned.curve)
    contract = export(tmp_path / "online", tmp_path / "policy")
    assert (contract.method, contract.flow_steps) == ("iql", 0)
    policy = ChunkPolicy.load(tmp_path / "policy", seed=0)
    observation = np.linspace(-1, 1, 6).reshape(2, 3)
    noise = np.random.default_rng(0).standard_normal((2, 5)).astype("f4")
    expected = AgentPolicy(tuned.agent)(observation.astype("f4"), noise)
    np.testing.assert_allclose(policy.chunk(observation, noise), expected, atol=1e-5)
    with pytest.raises(UsageError, match="iql has no"):
        AgentPolicy(tuned.agent, "bc")


def test_checkpoint_restores_all_optimizers(
    tmp_path: Path, iql_config: Config, pendulum: Path
) -> None:
    pretrain(iql_config, pendulum, tmp_path / "checkpoint")
    saved = load_file(tmp_path / "checkpoint" / OPTIMIZER)
    assert {name.split(".")[0] for name in saved} == {"values", "policy"}
    first, second = (load_agent(tmp_path / "checkpoint", CPU) for _ in range(2))
    windows = random_windows(iql_config.train, 3, 1)
    noise = first.draw_noise(16, torch.Generator().manual_seed(0))
    fresh = make_agent(3, 1, iql_config.train)
    fresh.load_state_dict(first.state_dict())
    for agent in (first, second, fresh):
        agent.update(windows, noise)
    restored, again, without = (agent.state_dict() for agent in (first, second, fresh))
    assert all(torch.equal(weight, again[name]) for name, weight in restored.items())
    # Without its state, each Adam takes a different step.
    for name in ("flow.mlp.weights.0", "value.weights.0"):
        assert not torch.equal(restored[name], without[name])


def test_missing_state_of_one_optimizer_is_an_error(
    tmp_path: Path, iql_config: Config, pendulum: Path
) -> None:
    pretrain(iql_config, pendulum, tmp_path / "checkpoint")
    path = tmp_path / "checkpoint" / OPTIMIZER
    save_file({n: v for n, v in load_file(path).items() if n.startswith("values.")}, path)
    (path.parent / "SHA256SUMS").unlink()
    with pytest.raises(UsageError, match=r"does not fit the networks: policy\.0\.step must have"):
        load_agent(tmp_path / "checkpoint", CPU)


def test_each_loss_trains_only_its_parameters(iql_config: Config) -> None:
    torch.manual_seed(0)
    agent = make_agent(3, 1, iql_config.train)
    windows = random_windows(iql_config.train, 3, 1)
    noise = agent.draw_noise(16, torch.Generator().manual_seed(0))
    expected = {}
    for function in agent.losses(windows, noise):
        loss = function()
        gradients = torch.autograd.grad(loss.value, loss.parameters)
        expected |= {id(p): g for p, g in zip(loss.parameters, gradients, strict=True)}
    before = {name: p.detach().clone() for name, p in agent.named_parameters()}
    agent.update(windows, noise)
    for name, parameter in agent.named_parameters():
        if name.startswith("target_critic"):
            online = before[name.removeprefix("target_")]
            lagging = before[name] + agent.config.tau * (online - before[name])
            torch.testing.assert_close(parameter.detach(), lagging)
            continue
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, expected[id(parameter)])
        assert not torch.equal(parameter, before[name]) or not parameter.grad.any()


def test_learning_rate_reaches_all_optimizers(iql_config: Config) -> None:
    agent = make_agent(3, 1, iql_config.train)
    agent.set_learning_rate(0.25)
    rates = [o.param_groups[0]["lr"].item() for o in agent.optimizers.values()]
    assert rates == [0.25, 0.25]


class MisspelledAgent(IQLAgent):
    def make_optimizers(self) -> Optimizers:
        missing: Any = self.citric
        return {"critic": make_adam(missing.parameters(), 0.1)}


def test_an_error_in_the_optimizers_of_a_method_is_shown(iql_config: Config) -> None:
    agent = MisspelledAgent(3, 1, iql_config.train)
    with pytest.raises(RuntimeError, match="no attribute 'citric'"):
        agent.set_learning_rate(0.25)
