"""A training saves often, but saving takes at most 1% of its time."""

import pytest
import torch

from qc_core.errors import UsageError
from qc_core.training import checkpoint_schedule
from qc_core.training.checkpoint_schedule import CheckpointSchedule
from qc_core.training.resume import resuming_from


def test_saving_takes_at_most_a_hundredth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(checkpoint_schedule.time, "monotonic", lambda: now)
    schedule = CheckpointSchedule()

    def is_due(at: float) -> bool:
        nonlocal now
        now = at
        return schedule.due

    assert [is_due(at) for at in (9, 10)] == [False, True]
    with schedule.saving():
        now = 10.6
    assert [is_due(at) for at in (70, 70.7)] == [False, True]
    with schedule.saving():
        now += 0.01
    assert [is_due(at) for at in (80, 81)] == [False, True]


def test_damage_is_reported_in_one_line_but_a_failing_device_is_not_damage() -> None:
    message = "cannot resume from the folder: no fit; delete it to start over"
    with pytest.raises(UsageError, match=message), resuming_from("the folder"):
        raise RuntimeError("no fit")
    with pytest.raises(torch.AcceleratorError), resuming_from("the folder"):
        raise torch.AcceleratorError("an illegal memory access")
