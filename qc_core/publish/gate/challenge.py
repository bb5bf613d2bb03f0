"""Let a published version challenge the champion, and make it champion if it passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qc_core.config.settings import Config
from qc_core.errors import UsageError
from qc_core.policy_format.contract import Contract
from qc_core.policy_format.environment_spec import is_same_environment
from qc_core.policy_format.policy_folder import read_contract
from qc_core.publish.gate.duel import Duel
from qc_core.publish.gate.match import Match, match_seeds, play_match
from qc_core.publish.gate.minimum import Minimum
from qc_core.publish.gate.returns import ReturnDuel
from qc_core.publish.gate.rule import CHALLENGER, Episodes, anytime_steps, anytime_success
from qc_core.registry.gate_record import GateRecord, PlayerResult
from qc_core.registry.registry import CHAMPION, Registry
from qc_core.runtime.pulled_policy import PulledPolicy
from qc_core.scratch import scratch_folder


def challenge(config: Config, registry: Registry, folder: Path, version: str) -> GateRecord:
    """Compare a version with the champion and move the alias if the version passes.

    If another run makes a champion in the meantime, the version plays against the new champion.

    Args:
        folder: the policy folder that was published as `version`.

    Raises:
        UsageError: the environment cannot be played here, or the champion has another one.
    """
    name, contract = config.policy_name, read_contract(folder)
    while True:
        # A retry after this version became champion plays against the previous champion again.
        incumbent = next((v for v in registry.alias_history(name, CHAMPION) if v != version), None)
        try:
            match = _match(config, registry, folder, contract, version, incumbent)
        except UsageError as error:
            raise UsageError(f"{name}:{version} is published, but not compared: {error}") from error
        passed = match is None or match.decision == "passed"
        moved = passed and registry.replace_alias(name, CHAMPION, version, incumbent)
        settled = (version,) if passed else (version, incumbent)
        if moved or registry.alias(name, CHAMPION) in settled:
            return _record(contract, passed, incumbent, match)


def _match(
    config: Config,
    registry: Registry,
    folder: Path,
    contract: Contract,
    version: str,
    incumbent: str | None,
) -> Match | None:
    """Return the match against the champion, or None if a first champion needs none."""
    environment, limit, publish = contract.environment, contract.episode_limit, config.publish
    if incumbent is None and publish.minimum_success == 0:
        return None
    seeds = match_seeds(f"{config.policy_name}:{version} {incumbent}", publish.gate_episodes)
    policies = {CHALLENGER: PulledPolicy(folder)}
    workers = min(config.evaluate.workers, len(seeds))
    if incumbent is None:
        rule = Minimum(publish.minimum_success)
        return play_match(rule, environment, limit, policies, seeds, workers=workers)
    with scratch_folder("champion") as scratch:
        champion = scratch / "champion"
        registry.pull(f"{config.policy_name}:{incumbent}", champion)
        if not is_same_environment(other := read_contract(champion).environment, environment):
            raise UsageError(
                f"the champion of {config.policy_name!r} has another environment: {other}, not "
                f"{environment}; give --publish.name another name"
            )
        margin = publish.margin if publish.gate == "not-worse" else 0.0
        return play_match(
            Duel(limit, margin, len(seeds)),
            environment,
            limit,
            {CHAMPION: PulledPolicy(champion), **policies},
            seeds,
            workers=workers,
            rule_without_success=ReturnDuel(margin),
        )


def _record(
    contract: Contract, passed: bool, incumbent: str | None, match: Match | None
) -> GateRecord:
    if match is None:
        return GateRecord(
            champion=passed,
            champion_before=incumbent,
            rule="a first champion: no minimum success rate is set",
            decision="passed",
            reason="no minimum success rate is set",
            environment=contract.environment,
            episode_limit=contract.episode_limit,
            episodes=0,
            max_episodes=0,
            results={},
        )
    compared = match.comparison
    return GateRecord(
        champion=passed,
        champion_before=incumbent,
        rule=match.rule,
        decision=match.decision,
        reason=compared.reason,
        environment=contract.environment,
        episode_limit=contract.episode_limit,
        first_seed=match.seeds[0],
        episodes=len(next(iter(match.episodes.values()))),
        max_episodes=len(match.seeds),
        reports_success=match.reports_success,
        steps_saved=compared.steps_saved,
        success_gain=compared.success_gain,
        net_wins=compared.net_wins,
        results=player_results(match.episodes, match.episode_limit),
    )


def player_results(episodes: Episodes, limit: int) -> dict[str, PlayerResult]:
    """Return success, steps and return of each policy, with intervals valid at every length."""
    return {
        name: PlayerResult(
            success=anytime_success(results),
            steps=anytime_steps(results, limit),
            # Without an interval, because returns have no bounds.
            mean_return=float(np.mean([result.episode_return for result in results])),
            episode_results=tuple(results),
        )
        for name, results in episodes.items()
    }
