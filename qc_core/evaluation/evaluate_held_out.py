"""Compares the policies of a checkpoint on held-out episodes, where none can be played.

Shapes: W windows, O observation, H actions per chunk, A action.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from qc_core import documents
from qc_core.agents.agent import Agent
from qc_core.agents.critic_agent import CriticAgent
from qc_core.config.settings import Config
from qc_core.errors import UsageError
from qc_core.evaluation.compared import compared_policies
from qc_core.evaluation.held_out import NOISE_SEED, Windows, held_out_windows, log_likelihoods
from qc_core.evaluation.result import Evaluation
from qc_core.log import log
from qc_core.policy_format.held_out_result import HeldOutResult
from qc_core.statistics import Estimate, mean
from qc_core.training.checkpoint import read_checkpoint, require_environment, weights_digest
from qc_core.training.checkpoint_policy import CheckpointPolicy
from qc_core.training.saved_agent import load_acting_agent


def evaluate_held_out(
    config: Config, checkpoint: Path, output: Path, held_out: Path | None
) -> Evaluation:
    """Compare the policies of a checkpoint on recorded episodes, and write the figures.

    Args:
        output: the JSON file to write.
        held_out: held-out part of the dataset.

    Raises:
        UsageError: a checkpoint of another environment, or no held-out episodes.
    """
    info = read_checkpoint(checkpoint)
    require_environment(info, checkpoint, config.environment)
    if held_out is None:
        raise UsageError(
            f"{config.environment} has no simulator: give the dataset, whose held-out episodes "
            "the policies are evaluated on (--dataset)"
        )
    windows = held_out_windows(held_out, info.config.train.chunk_length)
    horizon = config.evaluate.execution_horizon
    loaded = compared_policies(info.config.train.method, checkpoint, checkpoint, horizon)
    agent = load_acting_agent(checkpoint, torch.device("cpu"))
    evaluation = Evaluation(
        environment=config.environment,
        episode_limit=info.spec.episode_limit,
        first_seed=0,
        episodes=0,
        execution_horizon=horizon or info.config.train.chunk_length,
        policies=(),
        held_out=tuple(
            _held_out_result(name, policy, agent, windows) for name, policy in loaded.items()
        ),
    )
    log.info(f"{config.environment} has no simulator: all figures are offline figures")
    documents.write(output, evaluation)
    return evaluation


def _values_of(agent: Agent, chunk_WHA: np.ndarray, windows: Windows) -> Estimate | None:
    """Return the critics' mean value of chunks at the windows' observations; None without one."""
    if not isinstance(agent, CriticAgent):
        return None
    with torch.inference_mode():
        low_A, high_A = agent.action_low, agent.action_high
        chunk = torch.from_numpy(np.asarray(chunk_WHA, np.float32))
        scaled_WL = ((2 * chunk - low_A - high_A) / (high_A - low_A)).flatten(1)
        observation_WO = agent.normalize(torch.from_numpy(windows.observations_WO))
        value_W = agent.values(agent.critic, observation_WO, scaled_WL).mean(dim=0)
    return mean(windows.per_episode(value_W.numpy()))


def _held_out_result(
    name: str, checkpoint: CheckpointPolicy, agent: Agent, windows: Windows
) -> HeldOutResult:
    """Return the offline figures of a checkpoint's policy; `agent` is the checkpoint's."""
    policy = checkpoint()
    likelihoods = log_likelihoods(
        policy, windows, agent.action_low.numpy(), agent.action_high.numpy()
    )
    noise = np.random.default_rng(NOISE_SEED).standard_normal(
        (len(windows.observations_WO), *policy.noise_shape), dtype=np.float32
    )
    chosen_WHA = policy(windows.observations_WO, noise)
    return HeldOutResult(
        name=name,
        kind=checkpoint.kind,
        weights=weights_digest(checkpoint.checkpoint),
        episodes=windows.episodes,
        log_likelihood=mean(likelihoods),
        value=_values_of(agent, chosen_WHA, windows),
        recorded_value=_values_of(agent, windows.chunks_WHA, windows),
    )
