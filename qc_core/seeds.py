"""Seeds of episodes, from disjoint ranges.

Each purpose has its own range of 2^27 seeds. So evaluation never repeats an episode that was
collected or used in fine-tuning or in the scores of trials, whatever the seed of the run.
"""

from __future__ import annotations

from typing import Literal, get_args

from qc_core.errors import UsageError

# The order decides the seeds: add new purposes at the end.
Purpose = Literal[
    "collect",
    "online",
    "trial",
    "evaluate",
    "gate",
    "play",
    "video",
    "update",
    "pretrain",
    "select",
]
_PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
_RANGE = 1 << 27
_STRIDE = 1 << 17
# Number of run seeds whose runs share no episode.
RUN_SEEDS = _RANGE // _STRIDE


def seeds_for(purpose: Purpose, run_seed: int, count: int, *, offset: int = 0) -> list[int]:
    """Return `count` different seeds of a purpose for a run.

    Args:
        run_seed: the seed of the run; the seeds of adjacent runs start 131072 apart.
        offset: number of seeds to skip, to continue after an earlier call. A run has 131072
            seeds for each purpose; after the last, they repeat.

    Raises:
        UsageError: `count` is larger than 131072.
    """
    if count > _STRIDE:
        raise UsageError(f"a run has at most {_STRIDE:,} episodes to {purpose}, got {count:,}")
    start = _PURPOSES.index(purpose) * _RANGE + run_seed % RUN_SEEDS * _STRIDE
    return [start + (offset + i) % _STRIDE for i in range(count)]
