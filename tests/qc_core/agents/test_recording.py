"""A whole update can be recorded on a GPU: it stays on its device and waits for nothing.

On the meta device a tensor has a shape and a place but no numbers: what strays to the CPU shows.
On the CPU it shows what would be brought to the device or read from it.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from qc_core.agents.agent import Agent, UpdateNoise
from qc_core.agents.flow_agent import FlowNoise
from qc_core.agents.make import agent_class
from qc_core.agents.one_step import OneStepNoise
from qc_core.agents.sac import SACNoise
from qc_core.config.methods import METHODS
from qc_core.config.settings import TerminalHandling
from qc_core.data.replay.windows import gather_windows
from qc_core.networks.kernels import CUDA_BFLOAT16, CUDA_FLOAT32, Arithmetic
from qc_core.training.offline import learning_rate_at
from tests.train_settings import is_gaussian, is_one_step, train_with

ELSEWHERE, HERE = torch.device("meta"), torch.device("cpu")
BATCH, OBSERVATION, ACTION, ROWS = 8, 6, 3, 50


class Recording(TorchDispatchMode):
    """Refuses what a CUDA graph cannot hold."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        assert "local_scalar" not in name, "a number is read from the device"
        assert "lift_fresh" not in name, "a number is brought to the device"
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, torch.Tensor):
                assert leaf.device == self._device, f"{name} has a tensor on the {leaf.device}"
        return result


class NoOptimizer:
    """In the place of torch's, which wants a device that computes."""

    def __init__(self) -> None:
        self.param_groups = [{"lr": torch.empty(())}]

    def zero_grad(self, **_: bool) -> None: ...

    def step(self) -> None: ...


class Rows:
    """Transitions that exist only as shapes."""

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


def noise_for(agent: Agent) -> UpdateNoise:
    target = torch.zeros(BATCH, *agent.noise_shape)
    chunk, time = torch.zeros(BATCH, agent.chunk_size), torch.zeros(BATCH, 1)
    if is_gaussian(agent.config.method):
        return SACNoise(target, chunk)
    if is_one_step(agent.config.method):
        return OneStepNoise(target, chunk, time, chunk)
    return FlowNoise(target, chunk, time)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("device", [ELSEWHERE, HERE], ids=str)
@pytest.mark.parametrize("arithmetic", [CUDA_FLOAT32, CUDA_BFLOAT16], ids=lambda a: a.name)
@pytest.mark.parametrize("terminal_handling", ["drop", "keep"])
def test_an_update_stays_on_its_device_and_waits_for_nothing(
    method: str, device: torch.device, arithmetic: Arithmetic, terminal_handling: TerminalHandling
) -> None:
    config = train_with(method, hidden_dims=(16, 16, 16), num_critics=3, num_samples=4)
    with device:
        agent = agent_class(method)(OBSERVATION, ACTION, config)
        rows, noise = Rows(), noise_for(agent)
        uniform, step = torch.zeros(2, BATCH, dtype=torch.float64)
        agent.optimizer = NoOptimizer()  # pyright: ignore[reportAttributeAccessIssue]
    agent.arithmetic = arithmetic
    with Recording(device):
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
    assert all(parameter.grad is not None for parameter in agent.critic.parameters())


def test_the_check_itself_notices_what_it_should() -> None:
    with Recording(HERE):
        with pytest.raises(AssertionError, match="brought to the device"):
            torch.tensor(3.0)
        with pytest.raises(AssertionError, match="read from the device"):
            float(torch.zeros(()))
    with Recording(ELSEWHERE), pytest.raises(AssertionError, match="tensor on the cpu"):
        torch.zeros(3)
