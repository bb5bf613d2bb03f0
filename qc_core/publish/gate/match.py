"""Play episodes until a rule of the gate decides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from qc_core.envs.episode_result import any_reports_success, format_score
from qc_core.envs.play import LoadPolicy, play_side_by_side
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.progress import Progress
from qc_core.publish.gate.rule import Comparison, Decision, Episodes, Rule
from qc_core.seeds import RUN_SEEDS, seeds_for


@dataclass(frozen=True, slots=True)
class Match:
    """A finished match.

    Attributes:
        rule: the rule that decided, in one sentence.
        episode_limit: control steps of an episode.
        seeds: all seeds of the match; the first ones were played.
        episodes: the played episodes of each policy.
        reports_success: the environment reports success.
    """

    rule: str
    decision: Decision
    comparison: Comparison
    episode_limit: int
    seeds: Sequence[int]
    episodes: Episodes
    reports_success: bool


def play_match(
    rule: Rule,
    environment: str,
    limit: int,
    policies: Mapping[str, LoadPolicy],
    seeds: Sequence[int],
    *,
    workers: int,
    rule_without_success: Rule | None = None,
) -> Match:
    """Let the policies play seed after seed until the rule decides, or to the last seed.

    Args:
        limit: control steps of an episode.
        rule_without_success: the rule to use if the environment reports no success; None uses
            `rule`.
    """
    episodes: dict[str, list[EpisodeResult]] = {name: [] for name in policies}
    reports_success, current = False, rule
    decision: Decision = "undecided"
    played = play_side_by_side(environment, policies, seeds, workers=workers)
    with closing(played), Progress(len(seeds), "gate", "seed") as progress:
        for results in played:
            for name, result in results.items():
                episodes[name].append(result)
            reports_success = reports_success or any_reports_success(results.values())
            current = rule if reports_success else rule_without_success or rule
            scores = ", ".join(f"{name} {format_score(episodes[name])}" for name in episodes)
            progress.update(note=scores)
            if (decision := current.decide(episodes)) != "undecided":
                break
    return Match(
        rule=current.describe(),
        decision=decision,
        comparison=current.compare(episodes),
        episode_limit=limit,
        seeds=seeds,
        episodes=episodes,
        reports_success=reports_success,
    )


def match_seeds(pairing: str, count: int) -> list[int]:
    """Return seeds that no other match plays, so that no policy profits from lucky seeds.

    Args:
        pairing: names of both policies; their hash selects one of 2^27 first seeds.
    """
    drawn = int.from_bytes(hashlib.sha256(pairing.encode()).digest()[:8], "big")
    return seeds_for("gate", drawn, count, offset=drawn // RUN_SEEDS)
