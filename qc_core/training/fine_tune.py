"""Online fine-tuning: chunks are executed open loop, every step is learned from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from qc_core.agents.agent import Agent
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import Dataset, open_dataset, require_match
from qc_core.envs.episode_result import EpisodeResult, mean_results
from qc_core.envs.make import describe
from qc_core.errors import TrainingDiverged, UsageError
from qc_core.log import log
from qc_core.progress import Progress
from qc_core.seeds import seeds_for
from qc_core.training.checkpoint import (
    CheckpointInfo,
    Curve,
    load_agent,
    load_training_state,
    read_curve,
    read_info,
    require_environment,
    require_same_networks,
)
from qc_core.training.checkpoint_store import DAMAGE, Kept, difference, reason, require_step
from qc_core.training.device import DEVICE_FAULTS, training_device
from qc_core.training.online import OnlineTraining
from qc_core.training.scoring import Scoring


class Score(NamedTuple):
    """How a fine-tuned policy does on its trial's episodes.

    Attributes:
        success: rate in [0, 1].
        steps: mean control steps, a failure counting the episode's limit.
        episode_return: mean undiscounted sum of rewards.
        reports_success: the environment tells success; where it does not, the return is what counts.
    """

    online_step: int
    success: float
    steps: float
    episode_return: float
    reports_success: bool

    @property
    def value(self) -> float:
        """What a trial is worth: the more, the better."""
        return self.success if self.reports_success else self.episode_return

    @property
    def words(self) -> str:
        """The same for people, with the speed of a policy that may succeed."""
        if self.reports_success:
            return f"success {self.success:.0%}, {self.steps:.0f} steps"
        return f"return {self.episode_return:.1f}"


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
    kept: Kept | None = None,
) -> FineTuned:
    """Fine-tune a checkpoint for `config.train.online_steps` environment steps.

    Args:
        trial: number of the trial; it decides the episodes that the trial explores.
        on_score: called with each score once it is there, while training may have gone on; what it
            raises ends the trial. A training that goes on begins with the scores it had.
        kept: where the training is kept now and then, between its scores, and gone on from. What
            cannot be gone on from is told in a line, and the training starts anew.
    """
    train, tune = config.train, config.tune
    before = read_info(checkpoint)
    spec = describe(config.environment)
    dataset = open_dataset(dataset_folder)
    require_match(dataset, spec)
    require_environment(before, checkpoint, spec.id)
    require_same_networks(
        before.config.train,
        train,
        str(checkpoint),
        "tune with the settings of its pretraining",
    )
    device = training_device()
    scoring_seeds = seeds_for("trial", config.seed, tune.episodes)
    stops = np.linspace(0, train.online_steps, tune.evaluations + 1).round().astype(int)[1:]
    score_at = sorted(set(stops.tolist()))
    training, curve, scores = _begun(config, checkpoint, dataset, device, trial, kept)
    agent = training.agent
    start = time.monotonic() - (curve[-1]["seconds"] if curve else 0.0)

    def info() -> CheckpointInfo:
        return replace(
            before,
            config=config,
            dataset_digest=dataset.digest,
            dataset_source=dataset.source,
            dataset_extent=dataset.extent,
            trial=trial,
            online_steps=before.online_steps + training.step,
        )

    label = f"online, trial {trial}"
    with (
        training,
        Scoring(config, scoring_seeds) as scoring,
        Progress(train.online_steps, label, "step", done=training.step) as progress,
    ):
        for score in scores:
            on_score(score)

        def on_step() -> None:
            progress.update()
            scoring.poll()
            if not (kept and kept.pace.due) or training.step in score_at:
                return
            # The weights of a score that is still to come would be lost with this process.
            if kept.pace.overdue:
                scoring.finish()
            if scoring.idle:
                kept.keep(agent, info(), curve, training.state())

        def keep(step: int, point: dict[str, float], outcomes: list[EpisodeResult]) -> None:
            curve.append({"step": step, **mean_results(outcomes, spec.episode_limit), **point})
            score = _score(curve[-1])
            progress.update(0, note=score.words)
            on_score(score)

        for step in score_at:
            if step <= training.step:
                continue
            try:
                training.run(step, on_step)
                point = {"seconds": time.monotonic() - start, **training.figures()}
            except TrainingDiverged:
                # What was scored before counts, whether it has been played by now or not.
                scoring.finish()
                raise
            scoring.play(agent, partial(keep, step, point))
        scoring.finish()
    return FineTuned(agent, info(), curve)


def _score(point: Mapping[str, float]) -> Score:
    return Score(
        int(point["step"]),
        point["success"],
        point["steps"],
        point["return"],
        bool(point["reports-success"]),
    )


def _begun(
    config: Config,
    checkpoint: Path,
    dataset: Dataset,
    device: torch.device,
    trial: int,
    kept: Kept | None,
) -> tuple[OnlineTraining, Curve, list[Score]]:
    """A training with its curve and its scores so far: the one that was kept, or a new one."""
    train = replace(config.train, learning_rate=config.train.online_learning_rate)

    def training(source: Path, state: Mapping[str, Tensor] | None) -> OnlineTraining:
        agent = load_agent(source, device, train)
        made = OnlineTraining(config, agent, dataset, device, trial=trial)
        try:
            if state is not None:
                made.restore(state)
                begun = read_info(checkpoint).online_steps
                require_step(begun + made.step, read_info(source).online_steps)
        except BaseException:
            made.__exit__()
            raise
        return made

    if kept is not None and (source := kept.checkpoint) is not None:
        try:
            if other := difference(read_info(source), config, dataset.digest):
                raise UsageError(f"it {other}")
            curve = read_curve(source)
            scores = [_score(point) for point in curve]
            going_on = training(source, load_training_state(source))
        except DEVICE_FAULTS:
            raise
        except DAMAGE as error:
            log.info(f"trial {trial} starts anew, not from what was kept of it: {reason(error)}")
        else:
            log.info(f"trial {trial} goes on from step {going_on.step:,}")
            return going_on, curve, scores
    return training(checkpoint, None), [], []
