"""When a training saves its next checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

# A training that is killed loses about this much work.
_SECONDS_BETWEEN = 60.0
# Saving takes at most this share of a training's time.
_MAX_SHARE_OF_TIME = 0.05
# A checkpoint that is due for this many intervals is worth waiting for.
_OVERDUE_INTERVALS = 3


class CheckpointSchedule:
    """About one checkpoint a minute, fewer if saving takes long."""

    def __init__(self) -> None:
        self._saved, self._interval = time.monotonic(), _SECONDS_BETWEEN

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() >= self._saved + self._interval

    @property
    def overdue(self) -> bool:
        """Whether a checkpoint has been due for so long that training should wait for it."""
        return time.monotonic() >= self._saved + _OVERDUE_INTERVALS * self._interval

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Measure how long saving takes, and schedule the next checkpoint accordingly."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._saved = time.monotonic()
            self._interval = max(_SECONDS_BETWEEN, (self._saved - start) / _MAX_SHARE_OF_TIME)
