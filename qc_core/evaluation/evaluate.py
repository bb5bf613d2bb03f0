"""Three policies side by side on seeds that no earlier step has used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qc_core.config.methods import METHODS
from qc_core.config.settings import Config
from qc_core.envs.episode_result import (
    NO_SUCCESS_SIGNAL,
    EpisodeResult,
    any_reports_success,
    counted_steps,
    summarize_results,
)
from qc_core.envs.make import describe
from qc_core.envs.play import play_episodes
from qc_core.errors import UsageError
from qc_core.files import write_json
from qc_core.log import log
from qc_core.seeds import seeds_for
from qc_core.statistics import mean
from qc_core.training.checkpoint import read_checkpoint, require_environment, weights_digest
from qc_core.training.policy import CheckpointPolicy

SCHEMA_VERSION = 1
CLONED, OFFLINE, ONLINE = "behaviour cloning", "offline Q-learning", "fine-tuned online"
UNTRAINED = "before any training"


def evaluate(config: Config, offline: Path, online: Path, output: Path) -> dict[str, Any]:
    """Play cloned, offline and fine-tuned policy and write the comparison to `output`.

    A method without a cloned policy, or without an offline phase, has none of these to compare.

    Success rates carry Wilson's interval. Steps count the episode's limit for a failure, so
    that they compare over the same episodes; each policy is also set against the first pair by
    pair, where an interval that excludes zero is a difference. Where the environment tells no
    success, returns are what compares.
    """
    limit = describe(config.environment).episode_limit
    seeds = seeds_for("evaluate", config.seed, config.evaluate.episodes)
    trained = {checkpoint: read_checkpoint(checkpoint) for checkpoint in (offline, online)}
    for checkpoint, info in trained.items():
        require_environment(info, checkpoint, config.environment)
    length = config.evaluate.execution_horizon
    entries = {
        CLONED: CheckpointPolicy(offline, "bc", length),
        OFFLINE: CheckpointPolicy(offline, "learned", length),
        ONLINE: CheckpointPolicy(online, "learned", length),
    }
    method = trained[offline].config.train.method
    if (other := trained[online].config.train.method) != method:
        raise UsageError(f"{offline} was trained with {method}, {online} with {other}: give a pair")
    if METHODS[method].online_only:
        entries = {UNTRAINED: entries[OFFLINE], ONLINE: entries[ONLINE]}
    base = next(iter(entries))
    played = play_episodes(
        config.environment,
        entries,
        seeds,
        workers=min(config.evaluate.workers, len(seeds)),
    )
    told = any(map(any_reports_success, played.values()))
    if not told:
        log.info(f"{config.environment} {NO_SUCCESS_SIGNAL}: policies are compared by their return")
    policies = [
        {
            "name": name,
            "kind": entries[name].kind,
            "weights": weights_digest(entries[name].checkpoint),
            **summarize_results(outcomes, limit),
            "success-told": told,
            **_against(played[base], outcomes, limit),
        }
        for name, outcomes in played.items()
    ]
    content = {
        "schema-version": SCHEMA_VERSION,
        "environment": config.environment,
        "episode-limit": limit,
        "first-seed": seeds[0],
        "episodes": len(seeds),
        "execution-length": length or trained[online].config.train.chunk_length,
        "policies": policies,
    }
    write_json(output, content)
    return content


def _against(
    base: list[EpisodeResult], outcomes: list[EpisodeResult], limit: int
) -> dict[str, Any]:
    pairs = list(zip(base, outcomes, strict=True))
    return {
        "success-gain": mean([int(o.success) - int(b.success) for b, o in pairs])._asdict(),
        "steps-saved": mean(
            [counted_steps(b, limit) - counted_steps(o, limit) for b, o in pairs]
        )._asdict(),
        "return-gain": mean([o.episode_return - b.episode_return for b, o in pairs])._asdict(),
    }
