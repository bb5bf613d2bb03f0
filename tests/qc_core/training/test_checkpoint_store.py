"""A training is kept about once a minute, and seldom where that takes long."""

import pytest
import torch

from qc_core.errors import UsageError
from qc_core.training import checkpoint_store as resume
from qc_core.training.checkpoint_store import CheckpointSchedule, restoring


def test_what_is_in_the_way_is_waited_for_only_after_several_times_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(resume.time, "monotonic", lambda: now)
    pace = CheckpointSchedule()

    def is_due_and_overdue(at: float) -> tuple[bool, bool]:
        nonlocal now
        now = at
        return pace.due, pace.overdue

    before, due, overdue = (False, False), (True, False), (True, True)
    assert [is_due_and_overdue(at) for at in (59, 60, 179, 180)] == [before, due, due, overdue]
    with pace.keeping("the training"):
        now = 190
    # Ten seconds are a twentieth of the time.
    assert [is_due_and_overdue(at) for at in (389, 390, 789, 790)] == [before, due, due, overdue]


def test_damage_is_told_from_a_device_that_fails() -> None:
    told = "the folder cannot be gone on from: no fit; deleting"
    with pytest.raises(UsageError, match=told), restoring("the folder"):
        raise RuntimeError("no fit")
    with pytest.raises(torch.AcceleratorError), restoring("the folder"):
        raise torch.AcceleratorError("an illegal memory access")
