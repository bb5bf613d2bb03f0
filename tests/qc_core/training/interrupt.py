"""Interrupts trainings, and makes them save a checkpoint after each step."""

from __future__ import annotations

import pytest

from qc_core.training.checkpoint_schedule import CheckpointSchedule
from qc_core.training.offline import OfflineTraining


class Interrupt:
    """Replaces `Progress.update`: interrupts a training in step number `at`."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self, count: int = 1, *_: object, **__: object) -> None:
        self._left -= count
        if self._left == 0:
            raise KeyboardInterrupt


def save_after_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every training in this process save a checkpoint after each step."""
    monkeypatch.setattr(CheckpointSchedule, "due", True)
    monkeypatch.setattr(OfflineTraining, "stride", 1)
