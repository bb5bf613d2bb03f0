"""What a training keeps beside its output while it works, to go on from when it is broken off.

`OUTPUT.partial` holds one checkpoint, `checkpoint-STEP`, with its training state. A newer one is
whole before the older one goes, and the folder goes once the output is there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from qc_core.agents.agent import Agent
from qc_core.errors import WrongUse
from qc_core.recipes.config import Config
from qc_core.recipes.resolve import to_mapping
from qc_core.training.checkpoint import CheckpointInfo, Curve, save_checkpoint

# What a training that is broken off loses at most, and what it spends at most on keeping.
_SECONDS_BETWEEN = 60.0
_SHARE_OF_TIME = 0.05
_PREFIX = "checkpoint-"


class PartialTraining:
    """The checkpoint of a training that is going on, or that was broken off.

    Args:
        output: what the training writes in the end.

    Attributes:
        checkpoint: to go on from, None where there is none yet.

    Raises:
        WrongUse: in the place of the folder is something else.
    """

    def __init__(self, output: Path) -> None:
        output = output.resolve()
        self.folder = output.with_name(f"{output.name}.partial")
        if self.folder.exists():
            self._require_own()
        found = [path for path in self.folder.glob(f"{_PREFIX}*") if _step_of(path).isdecimal()]
        self.checkpoint = max(found, key=lambda path: int(_step_of(path)), default=None)
        self._due = time.monotonic() + _SECONDS_BETWEEN

    @property
    def due(self) -> bool:
        """Whether it is time to keep another."""
        return time.monotonic() >= self._due

    def keep(
        self, agent: Agent, info: CheckpointInfo, curve: Curve, state: Mapping[str, Tensor]
    ) -> None:
        """Put a checkpoint in the place of the last one.

        Args:
            state: what the training goes on from, beside the agent and the curve.
        """
        start = time.monotonic()
        self.checkpoint = self.folder / f"{_PREFIX}{info.offline_steps + info.online_steps}"
        save_checkpoint(self.checkpoint, agent, info, curve, state)
        for other in self.folder.iterdir():
            # Also what a process left that ended while it wrote.
            if other != self.checkpoint:
                shutil.rmtree(other)
        end = time.monotonic()
        self._due = end + max(_SECONDS_BETWEEN, (end - start) / _SHARE_OF_TIME)

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def require(self, info: CheckpointInfo, config: Config, dataset_digest: str) -> None:
        """Refuse to go on with other options or other data (WrongUse)."""
        begun, wanted = _options(to_mapping(info.config)), _options(to_mapping(config))
        changed = [f"{name} {was}" for name, was in begun.items() if was != wanted[name]]
        if changed:
            raise WrongUse(
                f"{self.folder} was begun with {', '.join(changed)}: give the same options to go "
                "on, or delete it to start anew"
            )
        if info.dataset_digest != dataset_digest:
            raise WrongUse(
                f"{self.folder} was begun on a data set with digest {info.dataset_digest[:12]}, "
                f"not {dataset_digest[:12]}: give the same data to go on, or delete it to start "
                "anew"
            )

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Whatever a damaged checkpoint raises is one line that says what to do (WrongUse)."""
        try:
            yield
        except (WrongUse, KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WrongUse(
                f"{self.folder} cannot be gone on from: {reason}; deleting it starts anew"
            ) from error

    def _require_own(self) -> None:
        own = self.folder.is_dir() and all(
            path.is_dir() and path.name.removeprefix(".").startswith(_PREFIX)
            for path in self.folder.iterdir()
        )
        if not own:
            raise WrongUse(
                f"{self.folder} is where a training keeps its progress, and it holds something "
                "else: move it away or choose another output"
            )


def _step_of(checkpoint: Path) -> str:
    return checkpoint.name.removeprefix(_PREFIX)


def _options(mapping: Mapping[str, Any], prefix: str = "--") -> dict[str, Any]:
    """A configuration's values by the names of its options."""
    options: dict[str, Any] = {}
    for name, value in mapping.items():
        if isinstance(value, dict):
            options |= _options(value, f"{prefix}{name}.")
        else:
            options[prefix + name] = value
    return options
