"""A CUDA graph can record an update: it stays on its device and never waits for the host.

Tensors on the meta device have a shape and a device but no values, so an operation that uses the
CPU fails there. On the CPU, the test detects values that are copied to the device or read from it.
"""

from functools import partial
from typing import Any

import pytest
import torch
from torch.autograd.graph import get_gradient_edge
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from qc_core.agents.agent import Agent, Loss, LossFunction
from qc_core.agents.flow_agent import FlowNoise
from qc_core.agents.make import agent_class
from qc_core.agents.one_step import OneStepNoise
from qc_core.agents.sac import SACNoise
from qc_core.config.methods import METHODS
from qc_core.config.settings import TerminalHandling
from qc_core.data.replay.windows import Windows, gather_windows
from qc_core.networks.kernels import CUDA_BFLOAT16, CUDA_FLOAT32, Kernels
from qc_core.training.offline import learning_rate_at
from tests.train_settings import is_gaussian, is_one_step, train_with

META, CPU = torch.device("meta"), torch.device("cpu")
BATCH, OBSERVATION, ACTION, ROWS = 8, 6, 3, 50


class GraphChecker(TorchDispatchMode):
    """Fails on operations that a CUDA graph cannot record."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        assert "local_scalar" not in name, "a value is read from the device"
        assert "lift_fresh" not in name, "a value is copied to the device"
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, torch.Tensor):
                assert leaf.device == self._device, f"{name} has a tensor on the {leaf.device}"
        return result


class NoOptimizer:
    """Replaces torch's optimiser, which cannot run on the meta device."""

    def __init__(self) -> None:
        self.param_groups = [{"lr": torch.empty(())}]

    def step(self) -> None: ...


class Rows:
    """Transitions that have shapes but no values."""

    def __init__(self) -> None:
        self.actions = torch.zeros(ROWS, ACTION)
        self.rewards = torch.zeros(ROWS)
        self.masks = torch.zeros(ROWS)
        self.terminals = torch.zeros(ROWS)
        self._size = torch.full((), ROWS, dtype=torch.float64)

    def sample_starts(self, uniform_B: torch.Tensor, backup_steps: int) -> torch.Tensor:
        return (uniform_B * (self._size - backup_steps + 1)).long()

    def window_indices(self, start_B: torch.Tensor, backup_steps: int) -> torch.Tensor:
        return start_B[:, None] + torch.arange(backup_steps, device=start_B.device)

    def observations_at(self, index: torch.Tensor) -> torch.Tensor:
        return self.actions.new_zeros(*index.shape, OBSERVATION)

    next_observations_at = observations_at


def noise_for(agent: Agent) -> FlowNoise | SACNoise:
    target = torch.zeros(BATCH, *agent.noise_shape)
    chunk, time = torch.zeros(BATCH, agent.chunk_size), torch.zeros(BATCH, 1)
    if is_gaussian(agent.config.method):
        return SACNoise(target, chunk)
    if is_one_step(agent.config.method):
        return OneStepNoise(target, chunk, time, chunk)
    return FlowNoise(target, chunk, time)


def windows_for(agent: Agent) -> Windows:
    rows, steps = Rows(), agent.config.backup_steps
    starts = rows.sample_starts(torch.zeros(BATCH, dtype=torch.float64), steps)
    return gather_windows(rows, starts, backup_steps=steps, discount=agent.config.discount)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("device", "kernels", "terminal_handling"),
    [(META, CUDA_FLOAT32, "drop"), (META, CUDA_BFLOAT16, "keep"), (CPU, CUDA_BFLOAT16, "drop")],
    ids=str,
)
def test_update_stays_on_its_device_and_never_waits_for_the_host(
    method: str, device: torch.device, kernels: Kernels, terminal_handling: TerminalHandling
) -> None:
    config = train_with(method, hidden_dims=(16, 16, 16), num_critics=3, num_samples=4)
    with device:
        agent = agent_class(method)(OBSERVATION, ACTION, config)
        rows, noise = Rows(), noise_for(agent)
        uniform, step = torch.zeros(2, BATCH, dtype=torch.float64)
        agent.optimizers = {"adam": NoOptimizer()}  # pyright: ignore[reportAttributeAccessIssue]
    agent.kernels = kernels
    with GraphChecker(device):
        agent.set_learning_rate(learning_rate_at(step[0], config))
        windows = gather_windows(
            rows,
            rows.sample_starts(uniform, config.backup_steps),
            backup_steps=config.backup_steps,
            discount=config.discount,
            terminal_handling=terminal_handling,
        )
        info = agent.update(agent.normalize_windows(windows), noise)
    assert {value.dtype for value in info.values()} == {torch.float32}
    assert all(parameter.grad is not None for parameter in agent.learned_parameters())


@pytest.mark.parametrize("method", METHODS)
def test_no_parameter_is_trained_by_two_losses(method: str) -> None:
    """A GPU computes the losses at the same time, so their gradients must not be added up."""
    config = train_with(method, hidden_dims=(16, 16), num_critics=3, num_samples=4)
    agent = agent_class(method)(OBSERVATION, ACTION, config)
    losses = [function() for function in agent.losses(windows_for(agent), noise_for(agent))]
    trained = [id(parameter) for loss in losses for parameter in loss.parameters]
    assert len(trained) == len(set(trained))
    assert {*trained} == {id(parameter) for parameter in agent.learned_parameters()}


def test_a_loss_leaves_no_graph_of_a_network_that_another_loss_trains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a GPU, gradients are added in the stream in which the oldest graph used the network."""
    config = train_with("rlpd", hidden_dims=(16, 16))
    agent = agent_class("rlpd")(OBSERVATION, ACTION, config)
    windows, noise = windows_for(agent), noise_for(agent)
    critic, found = agent.get_submodule("critic"), list[bool]()

    def checked(function: LossFunction) -> Loss:
        loss = function()
        for parameter in critic.parameters():
            mark: Any = get_gradient_edge(parameter).node.metadata
            found.append("used" in mark)
            mark["used"] = True
        return loss

    # The actor loss uses the critics, and the last loss trains them.
    losses = [partial(checked, function) for function in reversed(agent.losses(windows, noise))]
    monkeypatch.setattr(agent, "losses", lambda *_: losses)
    agent.update(windows, noise)
    assert found and not any(found)


def test_graph_checker_detects_transfers_and_other_devices() -> None:
    with GraphChecker(CPU):
        with pytest.raises(AssertionError, match="copied to the device"):
            torch.tensor(3.0)
        with pytest.raises(AssertionError, match="read from the device"):
            float(torch.zeros(()))
    with GraphChecker(META), pytest.raises(AssertionError, match="tensor on the cpu"):
        torch.zeros(3)
