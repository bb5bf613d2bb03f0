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
from qc_core.agents.make import KINDS
from qc_core.agents.one_step import OneStepNoise
from qc_core.agents.sac import SACNoise
from qc_core.data.windows import gather_windows
from qc_core.networks.arithmetic import CUDA_BFLOAT16, CUDA_FLOAT32, Arithmetic
from qc_core.recipes.config import TerminalHandling, TrainConfig
from qc_core.recipes.methods import METHODS
from qc_core.training.offline import learning_rate_at

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

    def starts(self, uniform_B: torch.Tensor, horizon: int) -> torch.Tensor:
        return (uniform_B * (self._size - horizon + 1)).long()

    def follow(self, start_B: torch.Tensor, horizon: int) -> torch.Tensor:
        return start_B[:, None] + torch.arange(horizon, device=start_B.device)

    def observations_at(self, index: torch.Tensor) -> torch.Tensor:
        return self.actions.new_zeros(*index.shape, OBSERVATION)

    next_observations_at = observations_at


def noise_for(agent: Agent) -> UpdateNoise:
    target = torch.zeros(BATCH, *agent.noise_shape)
    chunk, time = torch.zeros(BATCH, agent.chunk_size), torch.zeros(BATCH, 1)
    match METHODS[agent.config.method].policy:
        case "gaussian":
            return SACNoise(target, chunk)
        case "one-step":
            return OneStepNoise(target, chunk, time, chunk)
        case "best-of-n":
            return FlowNoise(target, chunk, time)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("device", [ELSEWHERE, HERE], ids=str)
@pytest.mark.parametrize("arithmetic", [CUDA_FLOAT32, CUDA_BFLOAT16], ids=lambda a: a.name)
@pytest.mark.parametrize("terminal_handling", ["drop", "keep"])
def test_an_update_stays_on_its_device_and_waits_for_nothing(
    method: str, device: torch.device, arithmetic: Arithmetic, terminal_handling: TerminalHandling
) -> None:
    config = TrainConfig(method=method, widths=(16, 16, 16), critics=3, candidates=4)
    with device:
        agent = KINDS[METHODS[method].policy](OBSERVATION, ACTION, config)
        rows, noise = Rows(), noise_for(agent)
        uniform, step = torch.zeros(2, BATCH, dtype=torch.float64)
        agent.optimizer = NoOptimizer()  # pyright: ignore[reportAttributeAccessIssue]
    agent.arithmetic = arithmetic
    with Recording(device):
        agent.set_learning_rate(learning_rate_at(step[0], config))
        windows = gather_windows(
            rows,
            rows.starts(uniform, config.backup_length),
            horizon=config.backup_length,
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
