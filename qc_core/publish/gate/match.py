"""Play until the rule is answered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from qc_core.envs.episode_result import EpisodeResult, any_reports_success, describe_results
from qc_core.envs.play import LoadPolicy, play_side_by_side
from qc_core.progress import Progress
from qc_core.publish.gate.rule import Decision, Rule, result_of
from qc_core.seeds import RUN_SEEDS, seeds_for


def hold_match(
    rule: Rule,
    environment: str,
    limit: int,
    policies: Mapping[str, LoadPolicy],
    seeds: Sequence[int],
    *,
    workers: int,
    untold: Rule | None = None,
) -> dict[str, Any]:
    """Let the policies play seed after seed until the rule is answered, or to the last seed.

    Args:
        limit: control steps of an episode.
        untold: the rule in place of the other where the environment tells no success; None
            leaves the other.

    Returns:
        The account of the match: rule, decision, reason, figures, and every episode.
    """
    games: dict[str, list[EpisodeResult]] = {name: [] for name in policies}
    told, decided_by = False, rule
    decision: Decision = "undecided"
    played = play_side_by_side(environment, policies, seeds, workers=workers)
    with closing(played), Progress(len(seeds), "gate", "seed") as progress:
        for outcomes in played:
            for name, outcome in outcomes.items():
                games[name].append(outcome)
            told = told or any_reports_success(outcomes.values())
            decided_by = rule if told else untold or rule
            progress.update(note=", ".join(f"{name} {describe_results(games[name])}" for name in games))
            if (decision := decided_by.decide(games)) != "undecided":
                break
    count = len(next(iter(games.values())))
    return {
        **decided_by.figures(games),
        "rule": decided_by.text,
        "decision": decision,
        "environment": environment,
        "success-told": told,
        "episode-limit": limit,
        "first-seed": seeds[0],
        "episodes": count,
        "episodes-at-most": len(seeds),
        "results": {name: result_of(outcomes, limit) for name, outcomes in games.items()},
    }


def fresh_seeds(occasion: str, count: int) -> list[int]:
    """Seeds of the gate that no other occasion plays, so that nobody wins by luck with a few.

    Args:
        occasion: who plays against whom. Its name picks one of the 2^27 seeds to begin with.
    """
    drawn = int.from_bytes(hashlib.sha256(occasion.encode()).digest()[:8], "big")
    return seeds_for("gate", drawn, count, offset=drawn // RUN_SEEDS)
