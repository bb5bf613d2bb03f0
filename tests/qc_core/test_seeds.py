"""Purposes and runs share no episode."""

from itertools import combinations
from typing import get_args

import pytest

from qc_core.errors import UsageError
from qc_core.seeds import RUN_SEEDS, Purpose, seeds_for


def test_purposes_never_share_a_seed() -> None:
    for run_seed in (0, 1, 1023):
        drawn = [set(seeds_for(purpose, run_seed, 2000)) for purpose in get_args(Purpose)]
        assert all(len(seeds) == 2000 for seeds in drawn)
        assert all(not first & second for first, second in combinations(drawn, 2))
        assert all(0 <= seed < 2**32 for seeds in drawn for seed in seeds)


def test_an_offset_continues_after_an_earlier_call() -> None:
    assert seeds_for("online", 3, 10)[4:] == seeds_for("online", 3, 6, offset=4)


def test_no_two_run_seeds_share_an_episode() -> None:
    firsts = {seeds_for("evaluate", run_seed, 1)[0] for run_seed in range(RUN_SEEDS)}
    assert len(firsts) == RUN_SEEDS == 1024


def test_run_seeds_give_different_episodes() -> None:
    assert not set(seeds_for("evaluate", 0, 1000)) & set(seeds_for("evaluate", 1, 1000))


def test_too_many_episodes_are_refused() -> None:
    assert len(set(seeds_for("evaluate", 7, 131_072))) == 131_072
    with pytest.raises(UsageError, match="131,072 episodes to evaluate, got 131,073"):
        seeds_for("evaluate", 7, 131_073)
