"""The methods by name: which policy, and over how many steps.

| method | policy | actions per chunk | steps per backup |
|---|---|---|---|
| qc | best-of-N of the flow | H | H |
| qc-fql | one-step, distilled from the flow | H | H |
| bfn, fql | best-of-N, one-step | 1 | 1 |
| bfn-n, fql-n | best-of-N, one-step | 1 | H, biased: the later actions are the data's |
| rlpd | tanh-Gaussian of soft actor-critic | 1 | 1 |
| rlpd-ac | the same over chunks | H | H |
| qc-rlpd | rlpd-ac kept near the data by its likelihood | H | H |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the paper.

    Attributes:
        policy: how actions are chosen.
        chunked: policy and critic act on chunks of `horizon` actions instead of on one.
        multi_step: the backup sums the rewards of `horizon` steps instead of one.
        cloning: a Gaussian policy is kept near the data.
        settings: the paper's values of train settings that other methods have others of.
    """

    policy: Literal["one-step", "best-of-n", "gaussian"]
    chunked: bool
    multi_step: bool
    cloning: bool = False
    settings: Mapping[str, int | float] = field(default_factory=dict)

    @property
    def online_only(self) -> bool:
        """No offline phase: the data set is half of each online batch."""
        return self.policy == "gaussian"


_FEW = {"candidates": 4}
_TEN_CRITICS = {"critics": 10}
METHODS = {
    "qc": Method("best-of-n", chunked=True, multi_step=True),
    "qc-fql": Method("one-step", chunked=True, multi_step=True),
    "bfn": Method("best-of-n", chunked=False, multi_step=False, settings=_FEW),
    "bfn-n": Method("best-of-n", chunked=False, multi_step=True, settings=_FEW),
    "fql": Method("one-step", chunked=False, multi_step=False),
    "fql-n": Method("one-step", chunked=False, multi_step=True),
    "rlpd": Method("gaussian", chunked=False, multi_step=False, settings=_TEN_CRITICS),
    "rlpd-ac": Method("gaussian", chunked=True, multi_step=True, settings=_TEN_CRITICS),
    "qc-rlpd": Method(
        "gaussian", chunked=True, multi_step=True, cloning=True, settings=_TEN_CRITICS
    ),
}
