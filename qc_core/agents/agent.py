"""What all algorithms share: the policy's interface, scaling, and one update.

Shapes: B batch, N samples, O observation, C actions per chunk, A action, L = C·A.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from qc_core.agents.optimizers import (
    Optimizers,
    load_optimizer_tensors,
    make_adam,
    optimizer_tensors,
)
from qc_core.config.methods import AlgorithmSettings
from qc_core.config.settings import TrainConfig
from qc_core.data.replay.windows import Windows
from qc_core.errors import UsageError
from qc_core.networks import kernels
from qc_core.networks.side_by_side import side_by_side

Info = dict[str, Tensor]
Settings = TypeVar("Settings", bound=AlgorithmSettings)
Noise = TypeVar("Noise")

# Updates all tensors in one kernel on a GPU. It is not in torch's type stubs.
_foreach_lerp: Any = torch.ops.aten._foreach_lerp_.Scalar


@dataclass(frozen=True, slots=True)
class Loss:
    """One loss of an update, or one of several terms of a loss that train different parameters.

    Attributes:
        name: the prefix of its figures. `NAME/loss` is the sum of the terms with this name.
        value: a scalar.
        parameters: the parameters that the loss trains; its gradient reaches no others.
        figures: scalars for the learning curve, in addition to `loss`.
    """

    name: str
    value: Tensor
    parameters: Sequence[nn.Parameter]
    figures: Info = field(default_factory=dict)


LossFunction = Callable[[], Loss]


class LaggingCopy(NamedTuple):
    """A target network: it moves towards the online network by the fraction `tau` per update."""

    online: nn.Module
    target: nn.Module
    tau: float


class Agent(nn.Module, ABC, Generic[Settings, Noise]):
    """An algorithm: its networks, losses, optimisers, target networks and noise.

    A subclass names its types of settings and noise, makes its networks in `__init__`, and
    declares:

    - `losses`: any number of losses, each with the parameters that it alone trains,
    - `lagging_copies`: its target networks, none by default,
    - `make_optimizers`: its optimisers by name, by default one Adam over all that is trained,
    - `draw_noise`: the random numbers of one update, in a dataclass of its own,
    - `choose` and `noise_shape`: its policy.

    `make_agent` makes an agent that is ready to learn. `chunk` takes raw observations and returns
    actions in the environment's units. Both scalings belong to the agent and are saved with its
    weights. `choose` and the losses use normalised observations and actions in [-1, 1].

    Attributes:
        settings: the algorithm's own settings, `config.algorithm`.
        kernels: the kernels that compute the networks in `update`; `PLAIN` by default.
    """

    observation_mean: Tensor
    observation_std: Tensor
    action_low: Tensor
    action_high: Tensor

    def __init__(self, observation_size: int, action_size: int, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.settings = cast(Settings, config.algorithm)
        self.kernels = kernels.PLAIN
        self.observation_size, self.action_size = observation_size, action_size
        self.chunk_size = config.chunk_length * action_size
        self.register_buffer("observation_mean", torch.zeros(observation_size))
        self.register_buffer("observation_std", torch.ones(observation_size))
        self.register_buffer("action_low", -torch.ones(action_size))
        self.register_buffer("action_high", torch.ones(action_size))

    # The policy

    @property
    @abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the policy's noise for one observation."""

    @abstractmethod
    def choose(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        """Chunks [B, L] in [-1, 1] for normalised observations and noise [B, *noise_shape]."""

    def chunk(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        """The learned policy: [B, O], [B, *noise_shape] → [B, C, A], within the action bounds."""
        return self.in_environment_units(self.choose(self.normalize(observation_BO), noise))

    def samples(self, observation_BO: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """All chunks that `chunk` chooses from, [B, N, L] in [-1, 1], and their values [B, N].

        `chunk` returns the sample with the highest value. A policy that makes one chunk returns
        that chunk with the value 0. Observations are in raw units.
        """
        chunk_B1L = self.choose(self.normalize(observation_BO), noise)[:, None]
        return chunk_B1L, chunk_B1L.new_zeros(len(chunk_B1L), 1)

    def bc_chunk(self, observation_BO: Tensor, noise: Tensor) -> Tensor:
        """The behaviour-cloning policy alone: [B, O], [B, *noise_shape] → [B, C, A].

        Raises:
            UsageError: the algorithm has none; see `AlgorithmSettings.has_bc_policy`.
        """
        raise UsageError(
            f"{self.config.method} has no behaviour-cloning policy: use the learned one"
        )

    @property
    def offline_fraction(self) -> float | None:
        """The part of each online batch that comes from the dataset.

        None, the default, samples from one buffer of the dataset and the online transitions.
        """
        return None

    @property
    def policy_flow_steps(self) -> int:
        """Euler steps that the learned policy takes for one chunk; 0 if it integrates no flow."""
        return 0

    # Learning

    @abstractmethod
    def draw_noise(self, batch_size: int, generator: torch.Generator) -> Noise:
        """Draw the random numbers of one update, on the generator's device."""

    @abstractmethod
    def losses(self, windows: Windows, noise: Noise) -> Sequence[LossFunction]:
        """Functions that compute the losses of one update.

        Each loss is computed and differentiated on its own, on a GPU at the same time as the
        others. So no parameter may be trained by two of them, and what one function computes is
        not for another one. Add two losses up to one where they share either.
        """

    def validation_losses(self, windows: Windows, noise: Noise) -> Info:
        """Losses that show overfitting on held-out windows, by name; none by default."""
        return {}

    def lagging_copies(self) -> Iterable[LaggingCopy]:
        """The target networks; none by default."""
        return ()

    def learned_parameters(self) -> list[nn.Parameter]:
        """All parameters that the losses train, in the order of the optimiser's saved state."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @cached_property
    def optimizers(self) -> Optimizers:
        """The optimisers by name, made when they are first needed: an agent that acts has none."""
        try:
            return self.make_optimizers()
        except AttributeError as error:
            # nn.Module would replace it by an error about a missing `optimizers`.
            raise RuntimeError(f"make_optimizers failed: {error}") from error

    def make_optimizers(self) -> Optimizers:
        """Make the optimisers by name, on the networks' device: by default one Adam over all."""
        return {"adam": make_adam(self.learned_parameters(), self.config.learning_rate)}

    def update(self, windows: Windows, noise: Noise) -> Info:
        """Take one step with all optimisers, and move the target networks.

        The update neither waits for the device nor depends on values there, so that a CUDA graph
        can record it.

        Returns:
            Figures as tensors on the device, named `LOSS/FIGURE`, such as `critic/loss`.
        """
        windows = self.normalize_windows(windows)
        self.zero_grad(set_to_none=True)
        with kernels.using(self.kernels):
            functions = [
                partial(_differentiated, function) for function in self.losses(windows, noise)
            ]
            losses = side_by_side(
                functions, self.observation_mean.device, streams=self.kernels.streams
            )
        # target ← (1 - tau) · target + tau · parameters, as the parameters were before this step.
        with torch.no_grad():
            for online, target, tau in self.lagging_copies():
                _foreach_lerp([*target.parameters()], [*online.parameters()], tau)
            for optimizer in self.optimizers.values():
                optimizer.step()
        return figures(losses)

    def gradient_norms(self) -> Info:
        """Return the norm of each network's gradient in the last update, `gradient_norm/NETWORK`.

        Empty before the first update. A tensor on the device for each network.
        """
        norms: Info = {}
        for name, network in self.named_children():
            gradients = [p.grad for p in network.parameters() if p.grad is not None]
            if gradients:
                norms[f"gradient_norm/{name}"] = nn.utils.get_total_norm(gradients)
        return norms

    def set_learning_rate(self, rate: float | Tensor) -> None:
        """Set the learning rate of all optimisers, as a number or a tensor on the device."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"].copy_(rate) if isinstance(rate, Tensor) else group["lr"].fill_(rate)

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the optimisers' state for a checkpoint, empty before the first update."""
        return optimizer_tensors(self.optimizers)

    def load_optimizer_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a state that `optimizer_state` returned (UsageError: it does not fit)."""
        load_optimizer_tensors(self.optimizers, tensors)

    # Scaling

    def set_normalization(self, mean_O: Tensor, std_O: Tensor) -> None:
        """Set the mean and standard deviation that observations are scaled by."""
        self.observation_mean.copy_(mean_O)
        self.observation_std.copy_(std_O)

    def set_action_bounds(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Set the bounds of the actions that `chunk` returns, A numbers each."""
        self.action_low.copy_(torch.tensor(low))
        self.action_high.copy_(torch.tensor(high))

    def normalize(self, observation_BO: Tensor) -> Tensor:
        """Scale raw observations by the mean and standard deviation."""
        return (observation_BO - self.observation_mean) / self.observation_std

    def normalize_windows(self, windows: Windows) -> Windows:
        """Windows with normalised observations, as the losses use them."""
        return windows._replace(
            observations_BO=self.normalize(windows.observations_BO),
            next_observations_BO=self.normalize(windows.next_observations_BO),
        )

    def data_chunk(self, windows: Windows) -> Tensor:
        """The chunk of the data at the window's first observation, [B, L]."""
        return windows.actions_BHA[:, : self.config.chunk_length].flatten(1)

    def in_environment_units(self, chunk: Tensor) -> Tensor:
        """[B, ..., L] in [-1, 1] → [B, ..., C, A] within the action bounds."""
        chunk_CA = chunk.unflatten(-1, (self.config.chunk_length, self.action_size))
        low_A, high_A = self.action_low, self.action_high
        scaled_CA = chunk_CA * ((high_A - low_A) / 2) + (high_A + low_A) / 2
        # Rounding can exceed a bound.
        return scaled_CA.clamp(low_A, high_A)


def figures(losses: Iterable[Loss]) -> Info:
    """The figures of an update's losses, named `LOSS/FIGURE`."""
    found: Info = {}
    for loss in losses:
        total = f"{loss.name}/loss"
        found[total] = found[total] + loss.value if total in found else loss.value
        found |= {f"{loss.name}/{name}": figure for name, figure in loss.figures.items()}
    return found


def _differentiated(function: LossFunction) -> Loss:
    """Compute a loss, add its gradient to that of its parameters, and return it without its graph.

    torch adds a parameter's gradient in the stream in which a graph that still exists first used
    the parameter. Another loss may have used it in another stream.
    """
    loss = function()
    loss.value.backward(inputs=[*loss.parameters])
    detached = {name: figure.detach() for name, figure in loss.figures.items()}
    return replace(loss, value=loss.value.detach(), figures=detached)
