"""A training saves about once a minute, less often if saving takes long."""

import pytest
import torch

from qc_core.errors import UsageError
from qc_core.training import checkpoint_schedule
from qc_core.training.checkpoint_schedule import CheckpointSchedule
from qc_core.training.resume import resuming_from


def test_checkpoints_are_due_after_a_minute_and_overdue_after_three(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(checkpoint_schedule.time, "monotonic", lambda: now)
    schedule = CheckpointSchedule()

    def is_due_and_overdue(at: float) -> tuple[bool, bool]:
        nonlocal now
        now = at
        return schedule.due, schedule.overdue

    before, due, overdue = (False, False), (True, False), (True, True)
    assert [is_due_and_overdue(at) for at in (59, 60, 179, 180)] == [before, due, due, overdue]
    with schedule.saving():
        now = 190
    # Ten seconds are a twentieth of the time.
    assert [is_due_and_overdue(at) for at in (389, 390, 789, 790)] == [before, due, due, overdue]


def test_damage_is_reported_in_one_line_but_a_failing_device_is_not_damage() -> None:
    message = "cannot resume from the folder: no fit; delete it to start over"
    with pytest.raises(UsageError, match=message), resuming_from("the folder"):
        raise RuntimeError("no fit")
    with pytest.raises(torch.AcceleratorError), resuming_from("the folder"):
        raise torch.AcceleratorError("an illegal memory access")
