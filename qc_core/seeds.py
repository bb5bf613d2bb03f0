"""Seeds for episodes, from ranges that never meet.

Each purpose owns a range of 2^27 seeds, so that an episode of the evaluation is never one
that collection, fine-tuning or a trial's own scoring has seen, whatever the run's seed.
"""

from __future__ import annotations

from typing import Literal, get_args

from qc_core.errors import UsageError

Purpose = Literal[
    "collect", "online", "trial", "evaluate", "gate", "play", "video", "update", "pretrain"
]
_PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
_RANGE = 1 << 27
_STRIDE = 1 << 17
# Run seeds for which no two runs share an episode.
RUN_SEEDS = _RANGE // _STRIDE


def seeds_for(purpose: Purpose, run_seed: int, count: int, *, offset: int = 0) -> list[int]:
    """`count` different seeds of that purpose's range, from the run's seed.

    Args:
        run_seed: the seed of the run; seeds of neighbouring runs start 131072 apart.
        offset: skip that many, to go on where an earlier call stopped. A run has 131072 seeds
            for each purpose; beyond, they begin again.

    Raises:
        UsageError: more than that at once.
    """
    if count > _STRIDE:
        raise UsageError(f"a run has {_STRIDE:,} episodes to {purpose}, got {count:,}")
    start = _PURPOSES.index(purpose) * _RANGE + run_seed % RUN_SEEDS * _STRIDE
    return [start + (offset + i) % _STRIDE for i in range(count)]
