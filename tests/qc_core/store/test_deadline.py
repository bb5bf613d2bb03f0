"""An operation that fails until its time is over ends with a reason that helps."""

import pytest

from qc_core.store.deadline import CutShort, Deadline, Unanswered
from qc_core.store.objects import StoreUnavailable


def test_an_attempt_that_the_deadline_cuts_short_does_not_replace_the_reason() -> None:
    reasons = iter([CutShort("late"), Unanswered("busy")])

    def attempt() -> None:
        raise next(reasons, CutShort("no complete answer"))

    with pytest.raises(StoreUnavailable, match="does not answer: busy"):
        Deadline("s3://bucket", 1).repeat(attempt)
