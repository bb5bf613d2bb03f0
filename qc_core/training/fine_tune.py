"""Online fine-tuning: chunks are executed open loop, every step is learned from."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from qc_core.agents.flow_agent import FlowAgent
from qc_core.data.dataset import open_dataset, require_match
from qc_core.data.replay import OfflineData, Replay
from qc_core.data.windows import sample_windows
from qc_core.envs.make import describe, make_environment
from qc_core.envs.play import play_episode
from qc_core.errors import WrongUse
from qc_core.progress import Progress
from qc_core.recipes.config import Config, TrainConfig
from qc_core.recipes.resolve import to_mapping
from qc_core.runtime.executor import ChunkExecutor
from qc_core.seeds import seeds_for
from qc_core.training.checkpoint import (
    CheckpointInfo,
    Curve,
    load_agent,
    read_info,
    require_environment,
)
from qc_core.training.device import training_device
from qc_core.training.policy import AgentPolicy
from qc_core.training.pretrain import require_finite

# What a checkpoint's weights are made for; the rest may change when training goes on.
_OF_THE_WEIGHTS = ("method", "horizon", "critics", "widths", "normalize-observations")
# Trials explore on stretches of seeds of their own.
_EPISODES_PER_TRIAL = 8192


class Score(NamedTuple):
    """How a fine-tuned policy does on its trial's episodes.

    Attributes:
        success: rate in [0, 1].
        steps: mean control steps, a failure counting the episode's limit.
    """

    online_step: int
    success: float
    steps: float


class FineTuned(NamedTuple):
    agent: FlowAgent
    info: CheckpointInfo
    curve: Curve


def fine_tune(
    config: Config,
    checkpoint: Path,
    dataset_folder: Path,
    *,
    trial: int,
    on_score: Callable[[Score], None],
) -> FineTuned:
    """Fine-tune a checkpoint for `config.train.online_steps` environment steps.

    Args:
        trial: number of the trial; it decides the episodes that the trial explores.
        on_score: called after each scoring; what it raises ends the trial.
    """
    train, tune = config.train, config.tune
    device = training_device()
    before = read_info(checkpoint)
    spec = describe(config.environment)
    dataset = open_dataset(dataset_folder)
    require_match(dataset, spec)
    require_environment(before, checkpoint, spec.id)
    _require_same_networks(before.config.train, train, checkpoint)
    agent = load_agent(checkpoint, device, replace(train, learning_rate=train.online_learning_rate))
    policy = AgentPolicy(agent)
    offline = OfflineData(dataset, device)
    replay = Replay(offline, offline.size + train.online_steps)
    episode_seeds = _exploration_seeds(config.seed, trial)
    update_seed = seeds_for("update", config.seed, 1, offset=trial)[0]
    generator = torch.Generator(device).manual_seed(update_seed)
    scoring_seeds = seeds_for("trial", config.seed, tune.episodes)
    score_at = set(
        np.linspace(0, train.online_steps, tune.evaluations + 1).round().astype(int)[1:].tolist()
    )

    curve: Curve = []
    start = time.monotonic()
    with (
        contextlib.closing(make_environment(config.environment)) as exploring,
        contextlib.closing(make_environment(config.environment)) as scoring,
        Progress(train.online_steps, f"online, trial {trial}", "step") as progress,
    ):
        seed = next(episode_seeds)
        executor = ChunkExecutor(policy, np.random.default_rng(seed))
        observation, _ = exploring.reset(seed=seed)
        info: dict[str, torch.Tensor] = {}
        for step in range(1, train.online_steps + 1):
            action = executor.act(observation)
            next_observation, reward, terminated, truncated, _ = exploring.step(action)
            replay.add(
                observation,
                action,
                float(reward),
                next_observation,
                terminated=terminated,
                ended=terminated or truncated,
            )
            observation = next_observation
            if terminated or truncated:
                seed = next(episode_seeds)
                executor = ChunkExecutor(policy, np.random.default_rng(seed))
                observation, _ = exploring.reset(seed=seed)
            if step > train.online_start:
                for _ in range(train.updates_per_step):
                    windows = sample_windows(replay, config, generator)
                    info = agent.update(windows, agent.draw_noise(train.batch_size, generator))
            note = None
            if step in score_at:
                outcomes = [play_episode(scoring, policy, seed) for seed in scoring_seeds]
                limit = spec.episode_limit
                score = Score(
                    online_step=step,
                    success=float(np.mean([o.success for o in outcomes])),
                    steps=float(np.mean([o.steps if o.success else limit for o in outcomes])),
                )
                point = {name: float(value) for name, value in info.items()}
                require_finite(point, step, "--train.online-learning-rate")
                curve.append(
                    {
                        "step": step,
                        "seconds": time.monotonic() - start,
                        "success": score.success,
                        "steps": score.steps,
                        **point,
                    }
                )
                note = f"success {score.success:.0%}"
                on_score(score)
            progress.update(note=note)
    return FineTuned(
        agent,
        replace(
            before,
            config=config,
            dataset_digest=dataset.digest,
            online_steps=before.online_steps + train.online_steps,
        ),
        curve,
    )


def _require_same_networks(trained: TrainConfig, asked: TrainConfig, checkpoint: Path) -> None:
    before, now = to_mapping(trained), to_mapping(asked)
    for name in _OF_THE_WEIGHTS:
        if before[name] != now[name]:
            raise WrongUse(
                f"{checkpoint} was trained with --train.{name} {before[name]}, "
                f"got {now[name]}: tune with the settings of its pretraining"
            )


def _exploration_seeds(run_seed: int, trial: int) -> Iterator[int]:
    for episode in itertools.count(trial * _EPISODES_PER_TRIAL):
        yield seeds_for("online", run_seed, 1, offset=episode)[0]
