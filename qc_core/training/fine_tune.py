"""Online fine-tuning of a pretrained checkpoint: one trial of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from qc_core.agents.agent import Agent
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset, require_match
from qc_core.envs.make import describe
from qc_core.errors import TrainingDiverged
from qc_core.progress import Progress
from qc_core.seeds import seeds_for
from qc_core.tracking.metrics import Metrics
from qc_core.training.checkpoint import (
    Checkpoint,
    Curve,
    read_checkpoint,
    require_environment,
    require_same_networks,
)
from qc_core.training.checkpoint_store import CheckpointStore
from qc_core.training.device import training_device
from qc_core.training.loop import PeriodicEvaluation, run_training
from qc_core.training.online import OnlineTraining
from qc_core.training.resume import start_or_resume
from qc_core.training.saved_agent import load_agent
from qc_core.training.score import Score, score_of
from qc_core.training.scoring import Scoring


class FineTuned(NamedTuple):
    """The result of a trial."""

    agent: Agent
    checkpoint: Checkpoint
    curve: Curve


def fine_tune(
    config: Config,
    pretrained: Path,
    dataset_folder: Path,
    *,
    trial: int,
    on_score: Callable[[Score], None],
    checkpoints: CheckpointStore | None = None,
    metrics: Metrics | None = None,
) -> FineTuned:
    """Fine-tune a checkpoint for `config.train.online_steps` environment steps.

    Args:
        pretrained: checkpoint folder of the offline phase.
        trial: number of the trial; it determines the episodes that the trial explores.
        on_score: called with each score when its episodes have been played; training may be some
            steps ahead. What it raises ends the trial. A resumed trial repeats its earlier scores.
        checkpoints: saves checkpoints and resumes from the newest one. If that one cannot be
            used, the trial logs it and starts over.
        metrics: of the trial; None logs none.

    Raises:
        UsageError: a checkpoint or dataset that is damaged or does not fit the configuration.
        TrainingDiverged: the losses are no longer finite; `on_score` has had all scores before.
    """
    train, tune = config.train, config.tune
    before = read_checkpoint(pretrained)
    spec = describe(config.environment, config.control_interval)
    dataset = open_dataset(dataset_folder)
    require_match(dataset, spec)
    require_environment(before, pretrained, spec.id)
    require_same_networks(
        before.config.train, train, str(pretrained), "tune with the settings of its pretraining"
    )
    device = training_device()
    stops = np.linspace(0, train.online_steps, tune.evaluations + 1).round().astype(int)[1:]

    def start(checkpoint: Path | None) -> OnlineTraining:
        online = replace(train, learning_rate=train.online_learning_rate)
        agent = load_agent(checkpoint or pretrained, device, online)
        return OnlineTraining(config, agent, dataset, device, trial=trial)

    training, curve, state = start_or_resume(
        checkpoints,
        config,
        dataset.digest,
        start,
        lambda saved: saved.online_steps - before.online_steps,
        or_start_over=True,
    )

    def checkpoint() -> Checkpoint:
        return msgspec.structs.replace(
            before,
            config=config,
            dataset_digest=dataset.digest,
            dataset_source=dataset.source,
            dataset_extent=dataset.extent,
            trial=trial,
            online_steps=before.online_steps + training.step,
        )

    with (
        training,
        Scoring(config, seeds_for("trial", config.seed, tune.episodes)) as scoring,
        Progress(
            train.online_steps, f"online, trial {trial}", "step", done=training.step
        ) as progress,
    ):
        for point in curve:
            on_score(score_of(point))

        def on_point(point: dict[str, float]) -> None:
            score = score_of(point)
            progress.update(0, note=score.text)
            on_score(score)

        evaluation = PeriodicEvaluation(
            scoring, sorted(set(stops.tolist())), spec.episode_limit, curve, on_point
        )
        try:
            evaluation.restart(training.agent, state)
            run_training(
                training,
                curve,
                checkpoint,
                checkpoints,
                progress.update,
                evaluation,
                metrics=metrics or Metrics(),
            )
        except TrainingDiverged:
            # Scores from before the divergence count, also those that are still being played.
            evaluation.finish()
            raise
    return FineTuned(training.agent, checkpoint(), curve)
