"""Going on with a training that was broken off: when it is kept, and what may be gone on from."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from qc_core.agents.agent import Agent
from qc_core.config.document import to_mapping
from qc_core.config.settings import Config
from qc_core.errors import QCError, UsageError
from qc_core.log import log
from qc_core.training.checkpoint import CheckpointInfo, Curve
from qc_core.training.device import DEVICE_FAULTS

# What a training that is broken off loses at most, and what it spends at most on keeping.
_SECONDS_BETWEEN = 60.0
_SHARE_OF_TIME = 0.05
# Times as long, and what stands in the way of keeping is waited for.
_PATIENCE = 3
# What a damaged checkpoint makes a training raise, DEVICE_FAULTS aside.
DAMAGE = (UsageError, KeyError, IndexError, ValueError, TypeError, RuntimeError)


class Kept(Protocol):
    """Where a training keeps its progress."""

    @property
    def place(self) -> str:
        """The same, for people."""
        ...

    @property
    def checkpoint(self) -> Path | None:
        """To go on from, None where there is none."""
        ...

    @property
    def pace(self) -> CheckpointSchedule:
        """When to keep another."""
        ...

    def keep(
        self, agent: Agent, info: CheckpointInfo, curve: Curve, state: Mapping[str, Tensor]
    ) -> None:
        """Put a checkpoint in the place of the last one; where that cannot be, training goes on.

        Args:
            state: what the training goes on from, beside the agent and the curve.
        """
        ...

    def remove(self) -> None:
        """Leave nothing to go on from."""
        ...


class CheckpointSchedule:
    """When to keep: about once a minute, less often where keeping takes long.

    Attributes:
        due: whether it is time.
        overdue: whether it has been time for so long that training had better wait for it.
    """

    def __init__(self) -> None:
        self._kept, self._between = time.monotonic(), _SECONDS_BETWEEN

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._kept + self._between

    @property
    def overdue(self) -> bool:
        return time.monotonic() >= self._kept + _PATIENCE * self._between

    @contextmanager
    def keeping(self, name: str) -> Iterator[None]:
        """Measure what keeping takes; that it cannot be kept is told in a line.

        Args:
            name: of the training, for people.
        """
        start = time.monotonic()
        try:
            yield
        except (QCError, OSError) as error:
            log.info(f"{name} goes on, though it cannot be kept now: {error}")
        finally:
            self._kept = time.monotonic()
            self._between = max(_SECONDS_BETWEEN, (self._kept - start) / _SHARE_OF_TIME)


def require_same(info: CheckpointInfo, config: Config, dataset_digest: str, place: object) -> None:
    """Refuse to go on with other options or other data (UsageError)."""
    if other := difference(info, config, dataset_digest):
        raise UsageError(f"{place} {other}: give the same to go on, or delete it to start anew")


def difference(info: CheckpointInfo, config: Config, dataset_digest: str) -> str:
    """With which other options, or on which other data, a checkpoint was begun, or ''."""
    begun, wanted = _options(to_mapping(info.config)), _options(to_mapping(config))
    changed = [f"{name} {was}" for name, was in begun.items() if was != wanted[name]]
    if changed:
        return f"was begun with {', '.join(changed)}"
    if info.dataset_digest != dataset_digest:
        return (
            f"was begun on a data set with digest {info.dataset_digest[:12]}, not "
            f"{dataset_digest[:12]}"
        )
    return ""


@contextmanager
def restoring(place: object) -> Iterator[None]:
    """Whatever a damaged checkpoint raises is one line that says what to do (UsageError)."""
    try:
        yield
    except DEVICE_FAULTS:
        raise
    except DAMAGE as error:
        raise UsageError(
            f"{place} cannot be gone on from: {reason(error)}; deleting it starts anew"
        ) from error


def reason(error: Exception) -> str:
    """What an error says, in a line."""
    return " ".join(str(error).split())[:200]


def require_step(got: int, wanted: int) -> None:
    """Refuse a training state of another step than its checkpoint's (UsageError)."""
    if got != wanted:
        raise UsageError(f"its training is at step {got}, checkpoint.json says {wanted}")


def _options(mapping: Mapping[str, Any], prefix: str = "--") -> dict[str, Any]:
    """A configuration's values by the names of its options."""
    options: dict[str, Any] = {}
    for name, value in mapping.items():
        if isinstance(value, dict):
            options |= _options(value, f"{prefix}{name}.")
        else:
            options[prefix + name] = value
    return options
