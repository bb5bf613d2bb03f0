"""Online fine-tuning: chunks are executed open loop, every step is learned from."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qc_core.agents.agent import Agent
from qc_core.data.dataset import open_dataset, require_match
from qc_core.envs.make import describe
from qc_core.envs.play import Outcome
from qc_core.errors import Diverged, WrongUse
from qc_core.progress import Progress
from qc_core.recipes.config import Config, TrainConfig
from qc_core.recipes.resolve import to_mapping
from qc_core.seeds import seeds_for
from qc_core.training.checkpoint import (
    CheckpointInfo,
    Curve,
    load_agent,
    read_info,
    require_environment,
)
from qc_core.training.device import training_device
from qc_core.training.evaluate import mean_figures
from qc_core.training.online import OnlineTraining
from qc_core.training.scoring import Scoring

# What a checkpoint's weights are made for; the rest may change when training goes on.
_OF_THE_WEIGHTS = ("method", "horizon", "critics", "widths", "normalize-observations")


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
    agent: Agent
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
        on_score: called with each score once it is there, while training may have gone on; what it
            raises ends the trial.
    """
    train, tune = config.train, config.tune
    before = read_info(checkpoint)
    spec = describe(config.environment)
    dataset = open_dataset(dataset_folder)
    require_match(dataset, spec)
    require_environment(before, checkpoint, spec.id)
    _require_same_networks(before.config.train, train, checkpoint)
    device = training_device()
    agent = load_agent(checkpoint, device, replace(train, learning_rate=train.online_learning_rate))
    scoring_seeds = seeds_for("trial", config.seed, tune.episodes)
    score_at = np.linspace(0, train.online_steps, tune.evaluations + 1).round().astype(int)[1:]
    curve: Curve = []
    start = time.monotonic()
    with (
        OnlineTraining(config, agent, dataset, device, trial=trial) as training,
        Scoring(config, scoring_seeds) as scoring,
        Progress(train.online_steps, f"online, trial {trial}", "step") as progress,
    ):

        def on_step() -> None:
            progress.update()
            scoring.poll()

        def keep(step: int, point: dict[str, float], outcomes: list[Outcome]) -> None:
            figures = mean_figures(outcomes, spec.episode_limit)
            score = Score(step, figures["success"], figures["steps"])
            curve.append({"step": step, "success": score.success, "steps": score.steps, **point})
            progress.update(0, note=f"success {score.success:.0%}")
            on_score(score)

        for step in sorted(set(score_at.tolist())):
            try:
                training.run(step, on_step)
                point = {"seconds": time.monotonic() - start, **training.figures()}
            except Diverged:
                # What was scored before counts, whether it has been played by now or not.
                scoring.finish()
                raise
            scoring.play(agent, partial(keep, step, point))
        scoring.finish()
    return FineTuned(
        agent,
        replace(
            before,
            config=config,
            dataset_digest=dataset.digest,
            dataset_source=dataset.source,
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
