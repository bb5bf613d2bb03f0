"""When a training saves its next checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

# A training that is killed loses at most about this much work, while saving is cheap.
_MIN_SECONDS_BETWEEN = 10.0
# Saving takes at most this share of a training's time.
_MAX_SHARE_OF_TIME = 0.01


class CheckpointSchedule:
    """A checkpoint every ten seconds, fewer if saving takes long.

    Saving that takes 0.6 s is due once a minute.
    """

    def __init__(self) -> None:
        self._saved, self._interval = time.monotonic(), _MIN_SECONDS_BETWEEN

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() >= self._saved + self._interval

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Measure how long saving takes, and schedule the next checkpoint accordingly."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._saved = time.monotonic()
            self._interval = max(_MIN_SECONDS_BETWEEN, (self._saved - start) / _MAX_SHARE_OF_TIME)
