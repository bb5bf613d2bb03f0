"""The training loop: runs a training to its end, evaluates it and saves checkpoints on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from torch import Tensor

from qc_core.agents.agent import Agent
from qc_core.envs.episode_result import mean_results
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.training.checkpoint import Checkpoint, Curve
from qc_core.training.checkpoint_store import CheckpointStore
from qc_core.training.scoring import Scoring

# Called with the steps done since the last call, and sometimes a note for the progress line.
OnSteps = Callable[[int, str | None], None]


class Training(Protocol):
    """A training that runs in steps: offline updates or online environment steps.

    Attributes:
        agent: the agent that learns.
        step: steps done.
        steps: steps in total.
        stride: maximum steps per `run` call; evaluation and checkpoints are checked in between.
    """

    agent: Agent
    step: int
    steps: int
    stride: int

    def run(self, until: int, on_steps: OnSteps) -> None:
        """Train until `step` is `until` (TrainingDiverged: the losses are no longer finite)."""
        ...

    def figures(self) -> dict[str, float]:
        """Return losses and values of the last update (TrainingDiverged: one is not finite)."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return what `restore` needs besides the agent."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the step at which `state` was taken."""
        ...

    def close(self) -> None:
        """Release data, environments and device memory."""
        ...


class PeriodicEvaluation:
    """Evaluates the agent at given steps; each evaluation becomes a point of the learning curve.

    Args:
        at: steps at which to evaluate; the last one is the training's last step.
        episode_limit: maximum control steps of an episode; a failure counts as this.
        curve: gets a point for each evaluation, once its episodes have been played: `step`,
            `success`, `steps`, `return`, `seconds` of training, and the figures of the last update.
        on_point: called with each point after it has been added; what it raises ends the training.
        first_step: added to the training's step in the curve.
    """

    def __init__(
        self,
        scoring: Scoring,
        at: Sequence[int],
        episode_limit: int,
        curve: Curve,
        on_point: Callable[[dict[str, float]], None],
        first_step: int = 0,
    ) -> None:
        self._scoring, self._at, self._limit = scoring, sorted(at), episode_limit
        self._curve, self._on_point, self._first_step = curve, on_point, first_step
        earlier = curve[-1]["seconds"] if curve else 0.0
        self._start = time.monotonic() - earlier

    def next_after(self, step: int) -> int:
        """Return the step of the first evaluation after `step`, which is not the last one."""
        return next(stop for stop in self._at if stop > step)

    def evaluate(self, training: Training) -> None:
        """Play episodes with the current weights, in the background if there are cores for it."""
        point = {"seconds": time.monotonic() - self._start, **training.figures()}
        step = self._first_step + training.step
        self._scoring.play(training.agent, partial(self._add, step, point))

    def poll(self) -> None:
        """Add the points whose episodes have been played."""
        self._scoring.poll()

    def finish(self) -> None:
        """Wait for all episodes, and add their points."""
        self._scoring.finish()

    @property
    def idle(self) -> bool:
        """Whether all evaluations so far are points of the curve."""
        return self._scoring.idle

    def _add(self, step: int, point: dict[str, float], results: list[EpisodeResult]) -> None:
        self._curve.append({"step": step, **mean_results(results, self._limit), **point})
        self._on_point(self._curve[-1])


def run_training(
    training: Training,
    curve: Curve,
    describe: Callable[[], Checkpoint],
    store: CheckpointStore | None,
    on_steps: OnSteps,
    evaluation: PeriodicEvaluation | None = None,
) -> None:
    """Run a training from its current step to its end.

    Args:
        curve: learning curve so far, saved with each checkpoint.
        describe: returns the checkpoint document of the current step.
        store: gets a checkpoint about once a minute, except at the last step, which the caller
            saves; None saves no checkpoints.
        on_steps: reports progress.

    Raises:
        TrainingDiverged: the losses are no longer finite. Evaluations may still be running:
            `evaluation.finish()` records them.
    """
    while training.step < training.steps:
        stop = evaluation.next_after(training.step) if evaluation else training.steps
        training.run(min(training.step + training.stride, stop), on_steps)
        if evaluation is not None:
            evaluation.poll()
            if training.step == stop:
                evaluation.evaluate(training)
        if store is None or not store.schedule.due or training.step == training.steps:
            continue
        # A checkpoint must contain the points of all evaluations before its step. Background
        # evaluations are rarely idle, so training waits for them when a checkpoint is overdue.
        if evaluation is not None and store.schedule.overdue:
            evaluation.finish()
        if evaluation is None or evaluation.idle:
            store.try_save(training.agent, describe(), curve, training.state())
    if evaluation is not None:
        evaluation.finish()
