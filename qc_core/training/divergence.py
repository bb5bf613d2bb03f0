"""Finds out that a training has diverged, where, and the probable cause."""

from __future__ import annotations

import torch
from torch import Tensor

from qc_core.agents.agent import Agent, Info
from qc_core.data.replay.windows import Windows
from qc_core.errors import TrainingDiverged
from qc_core.networks.kernels import choose as choose_kernels

# Float32 squares of larger numbers leave few digits for the others of a batch.
_EXTREME = 1e6
_WEIGHTS = "weights"


class FiniteCheck:
    """Reads the figures of updates, and refuses those of a training that has diverged.

    Attributes:
        batch: of the last update, for the report.

    Args:
        learning_rate: option that sets the learning rate.
    """

    def __init__(self, agent: Agent, learning_rate: str) -> None:
        self._agent, self._learning_rate = agent, learning_rate
        self.batch: Windows | None = None
        self._finite: tuple[int, dict[str, float]] | None = None

    def read(self, info: Info, step: int) -> dict[str, float]:
        """Return the figures of an update and norms of gradients; waits for the device once.

        Raises:
            TrainingDiverged: a figure or a weight is NaN or infinite.
        """
        if not info:
            return {}
        info = {**info, **self._agent.gradient_norms()}
        weights = [parameter.detach().sum() for parameter in self._agent.parameters()]
        values = torch.stack([*info.values(), torch.stack(weights).sum()]).tolist()
        point = dict(zip([*info, _WEIGHTS], values, strict=True))
        wrong = [name for name, value in point.items() if not abs(value) < float("inf")]
        if wrong:
            raise self.diverged(f"{wrong[0]} is {point[wrong[0]]}", step)
        del point[_WEIGHTS]
        self._finite = step, point
        return point

    def diverged(self, what: str, step: int) -> TrainingDiverged:
        """Return the error that tells what is not finite, and what to do."""
        parts = [f"training diverged before update {step:,}: {what}"]
        if self._finite is not None:
            before, finite = self._finite
            shown = ", ".join(f"{name} {value:.4g}" for name, value in finite.items())
            parts[0] += f", finite at update {before:,} ({shown})"
        ranges = _ranges(self.batch)
        if ranges:
            shown = ", ".join(f"{name} {low:.4g} to {high:.4g}" for name, (low, high) in ranges)
            parts.append(f"the last batch has {shown}")
        return TrainingDiverged("; ".join([*parts, self._advice(ranges)]))

    def _advice(self, ranges: list[tuple[str, tuple[float, float]]]) -> str:
        extreme = [name for name, ends in ranges if not max(map(abs, ends)) < _EXTREME]
        if extreme:
            return f"the {extreme[0]} of the data are extreme: correct or remove those steps"
        device = self._agent.observation_mean.device
        if self._agent.kernels is not choose_kernels(device, "float32"):
            return f"train with --train.precision float32, or lower {self._learning_rate}"
        return f"lower {self._learning_rate}"


def _ranges(batch: Windows | None) -> list[tuple[str, tuple[float, float]]]:
    """Return the lowest and highest number of each part of a batch."""
    if batch is None:
        return []
    parts: dict[str, Tensor] = {
        "observations": torch.cat([batch.observations_BO, batch.next_observations_BO]),
        "actions": batch.actions_BHA,
        "returns": batch.returns_B,
    }
    return [
        (name, (float(low), float(high)))
        for name, values in parts.items()
        for low, high in [torch.aminmax(values)]
    ]
