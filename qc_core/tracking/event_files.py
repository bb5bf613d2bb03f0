"""TensorBoard event files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from qc_core.tracking.metrics import Point

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

_PREFIX = "events.out.tfevents."


class EventFiles:
    """Writes the points of a training to a folder, a new file for each attempt.

    A point is on disk when `log` returns, so that readers see it while the training runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def start(self, step: int) -> None:
        # Imported here: it takes a second.
        from torch.utils.tensorboard.writer import SummaryWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        _await_later_name(self._folder)
        # TensorBoard removes the points that an interrupted attempt has logged beyond this step.
        self._writer = SummaryWriter(str(self._folder), purge_step=step)

    def log(self, point: Point) -> None:
        assert self._writer is not None
        for name, value in point.values.items():
            self._writer.add_scalar(name, value, point.step, point.time)
        self._writer.flush()

    def close(self, state: str) -> None:
        if self._writer is not None:
            self._writer.close()


def _await_later_name(folder: Path) -> None:
    """Wait, for less than a second, until a new file sorts after the files of this folder.

    TensorBoard reads files in the order of their names, which start with the second of creation.
    Within one second the rest decides, and there 9 comes after 10.
    """
    newest = max((path.name for path in folder.glob(f"{_PREFIX}*")), default="")
    while newest.startswith(f"{_PREFIX}{int(time.time()):010d}."):
        time.sleep(0.02)
