"""The methods by name: which policy is extracted from the flow, and over how many steps.

| method | policy | actions per chunk | steps per backup |
|---|---|---|---|
| qc | best-of-N | H | H |
| qc-fql | one-step | H | H |
| bfn, fql | best-of-N, one-step | 1 | 1 |
| bfn-n, fql-n | best-of-N, one-step | 1 | H, biased: the later actions are the data's |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the flow family.

    Attributes:
        policy: how actions are chosen with the flow and the critics.
        chunked: policy and critic act on chunks of `horizon` actions instead of on one.
        multi_step: the backup sums the rewards of `horizon` steps instead of one.
    """

    policy: Literal["one-step", "best-of-n"]
    chunked: bool
    multi_step: bool


METHODS = {
    "qc": Method("best-of-n", chunked=True, multi_step=True),
    "qc-fql": Method("one-step", chunked=True, multi_step=True),
    "bfn": Method("best-of-n", chunked=False, multi_step=False),
    "bfn-n": Method("best-of-n", chunked=False, multi_step=True),
    "fql": Method("one-step", chunked=False, multi_step=False),
    "fql-n": Method("one-step", chunked=False, multi_step=True),
}
