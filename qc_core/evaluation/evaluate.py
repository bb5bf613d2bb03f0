"""Compare the policies of a run on seeds that no earlier step has used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from qc_core import documents
from qc_core.config.settings import Config
from qc_core.envs.episode_result import (
    NO_SUCCESS_SIGNAL,
    any_reports_success,
    counted_steps,
    summarize_results,
)
from qc_core.envs.make import episode_limit
from qc_core.envs.play import play_episodes
from qc_core.envs.registry import has_simulator
from qc_core.errors import UsageError
from qc_core.evaluation.compared import compared_policies
from qc_core.evaluation.result import Evaluation, PolicyResult
from qc_core.log import log
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.processes import preload
from qc_core.seeds import seeds_for
from qc_core.statistics import Estimate, mean, success_gain
from qc_core.training.checkpoint import read_checkpoint, require_environment, weights_digest
from qc_core.training.checkpoint_policy import CheckpointPolicy

_NO_GAIN = Estimate(0.0, 0.0, 0.0)


def evaluate(
    config: Config, offline: Path, online: Path, output: Path, held_out: Path | None = None
) -> Evaluation:
    """Play the behaviour-cloning, offline and fine-tuned policies; write the comparison to a file.

    Methods without a behaviour-cloning policy compare the other two. Without an offline phase, the
    first of them is the untrained policy. Without fine-tuning there is no fine-tuned policy.

    Success rates have Wilson's interval. A failure counts as the episode limit, so the mean steps
    of all policies are over the same episodes. Each policy is also compared with the first one,
    paired by seed: an interval without zero is a difference. If the environment reports no
    success, the returns are compared. Seeds whose environment failed are left out.

    Args:
        offline: the pretrained checkpoint.
        online: the best trial's checkpoint.
        output: the JSON file to write.
        held_out: held-out part of the dataset, for an environment without a simulator.

    Raises:
        UsageError: a checkpoint of another environment, or two checkpoints of different methods;
            no simulator and no held-out episodes.
        EnvironmentFailed: the environment failed too often.
    """
    if not has_simulator(config.environment):
        # Imports torch, which the comparison of episodes needs only in its workers.
        from qc_core.evaluation.evaluate_held_out import evaluate_held_out

        return evaluate_held_out(config, offline, output, held_out)
    limit = episode_limit(config.environment)
    seeds = seeds_for("evaluate", config.seed, config.evaluate.episodes)
    trained = {checkpoint: read_checkpoint(checkpoint) for checkpoint in (offline, online)}
    for checkpoint, info in trained.items():
        require_environment(info, checkpoint, config.environment)
    method = trained[offline].config.train.method
    if (other := trained[online].config.train.method) != method:
        raise UsageError(
            f"{offline} was trained with {method}, {online} with {other}: give two checkpoints of "
            "one method"
        )
    horizon = config.evaluate.execution_horizon
    policies = compared_policies(method, offline, online, horizon)
    preload("torch")
    played = play_episodes(
        config.environment,
        policies,
        seeds,
        workers=min(config.evaluate.workers, len(seeds)),
    )
    reports_success = any(map(any_reports_success, played.values()))
    if not reports_success:
        log.info(f"{config.environment} {NO_SUCCESS_SIGNAL}: policies are compared by their return")
    first = next(iter(played.values()))
    evaluation = Evaluation(
        environment=config.environment,
        episode_limit=limit,
        first_seed=seeds[0],
        episodes=len(first),
        failed_episodes=len(seeds) - len(first),
        execution_horizon=horizon or trained[online].config.train.chunk_length,
        policies=tuple(
            msgspec.structs.replace(
                _result(name, policies[name], first, results, limit),
                reports_success=reports_success,
            )
            for name, results in played.items()
        ),
    )
    documents.write(output, evaluation)
    return evaluation


def _result(
    name: str,
    policy: CheckpointPolicy,
    first: Sequence[EpisodeResult],
    results: Sequence[EpisodeResult],
    limit: int,
) -> PolicyResult:
    summary = summarize_results(results, limit)
    pairs = list(zip(first, results, strict=True))
    # The first policy is compared with itself.
    gains: dict[str, Any] = {
        "success_gain": _NO_GAIN,
        "steps_saved": _NO_GAIN,
        "return_gain": _NO_GAIN,
    }
    if results is not first:
        gains = {
            "success_gain": success_gain(
                [base.success for base in first], [own.success for own in results]
            ),
            "steps_saved": mean(
                [counted_steps(base, limit) - counted_steps(own, limit) for base, own in pairs],
                -limit,
                limit,
            ),
            "return_gain": mean([own.episode_return - base.episode_return for base, own in pairs]),
        }
    return PolicyResult(
        **msgspec.structs.asdict(summary),
        **gains,
        name=name,
        kind=policy.kind,
        weights=weights_digest(policy.checkpoint),
    )
