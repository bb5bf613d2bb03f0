"""Checks uploaded files of episodes before they are used for training.

The form is OGBench's npz: rows of `observations`, `actions`, `terminals`, optional `timeouts`, and
the simulator state that rewards depend on. An episode's last row is only a next observation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qc_core.data.formats.npz_file import NpzFile
from qc_core.data.formats.ogbench_npz import OPTIONAL, REQUIRED, require_fit, take_ends
from qc_core.envs.relabelling import Relabelling
from qc_core.errors import UsageError

_BLOCK_ROWS = 25_000
# Rounding to float32 may move an action beyond its bound.
_TOLERANCE = 1e-5


class UploadCheck:
    """Refuses files that are not complete episodes of an environment.

    Raises:
        UsageError: the environment is unknown or has no single task.
    """

    def __init__(self, environment: str) -> None:
        self._relabel = Relabelling(environment)

    def __call__(self, path: Path) -> int:
        """Read a complete file and return its number of episodes.

        The memory needed is that of a block of rows, independent of the file's claimed size.

        Raises:
            UsageError: the file is damaged, has the wrong sizes or non-finite numbers, its actions
                are out of bounds, or its episodes are unmarked, too short, too long or incomplete.
        """
        spec = self._relabel.spec
        low_A, high_A = np.array([spec.action_low, spec.action_high])
        longest, episodes, unended = spec.episode_limit + 1, 0, 0
        with NpzFile(path, (*REQUIRED, *self._relabel.widths), OPTIONAL) as npz:
            require_fit(path, npz.shapes, self._relabel)
            for block in npz.blocks(_BLOCK_ROWS):
                actions = block["actions"]
                excess = float(np.maximum(low_A - actions, actions - high_A).max())
                if excess > _TOLERANCE:
                    raise UsageError(
                        f"{path}: actions must be within the bounds of {spec.id}, "
                        f"one is {excess:.3g} outside"
                    )
                ends = np.flatnonzero(take_ends(path, block))
                lengths = np.diff(ends, prepend=-1 - unended)
                unended = len(actions) - 1 - int(ends[-1]) if len(ends) else unended + len(actions)
                episodes += len(ends)
                if lengths.min(initial=2) < 2:
                    raise UsageError(f"{path}: an episode needs at least two rows, one has 1")
                if (got := int(lengths.max(initial=unended))) > longest:
                    raise UsageError(
                        f"{path}: an episode of {spec.id} has at most {longest} rows, "
                        f"one has {got} or more"
                    )
        if unended:
            raise UsageError(
                f"{path}: the last row must end an episode, {unended} rows follow the last end"
            )
        return episodes

    def close(self) -> None:
        self._relabel.close()
