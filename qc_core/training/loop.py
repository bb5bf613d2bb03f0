"""The training loop: runs a training to its end, evaluates it and saves checkpoints on the way."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from qc_core.agents.agent import Agent
from qc_core.envs.episode_result import mean_results
from qc_core.errors import QCError
from qc_core.interruption import Interrupted, deferred, is_requested
from qc_core.log import log
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.tracking.metrics import Activity, Metrics
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
        """Return losses and values of the last update.

        Raises:
            TrainingDiverged: one of them, or a weight, is not finite.
        """
        ...

    def activity(self) -> Activity:
        """Return counts of steps and updates, and what happened since the last call."""
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


class _Started(NamedTuple):
    """An evaluation whose episodes are being played.

    Attributes:
        step: of the point of the learning curve that the evaluation will become.
        figures: of that point.
        weights: of the agent at that step.
    """

    step: int
    figures: dict[str, float]
    weights: dict[str, Tensor]


# Names of the tensors of an evaluation in a checkpoint: PREFIX, number, part, name.
_PREFIX = "evaluation"


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
        self._started: deque[_Started] = deque()
        earlier = curve[-1]["seconds"] if curve else 0.0
        self._start = time.monotonic() - earlier

    def next_after(self, step: int) -> int:
        """Return the step of the first evaluation after `step`, which is not the last one."""
        return next(stop for stop in self._at if stop > step)

    def evaluate(self, training: Training) -> None:
        """Play episodes with the current weights, in the background if there are cores for it."""
        figures = {"seconds": time.monotonic() - self._start, **training.figures()}
        weights = {name: value.clone() for name, value in training.agent.state_dict().items()}
        step = self._first_step + training.step
        self._play(training.agent, _Started(step, figures, weights))

    def poll(self) -> None:
        """Add the points whose episodes have been played."""
        self._scoring.poll()

    def finish(self) -> None:
        """Wait for all episodes, and add their points."""
        self._scoring.finish()

    def state(self) -> dict[str, Tensor]:
        """Return the evaluations that are not yet points of the curve, for `restart`."""
        return {
            f"{_PREFIX}.{number}.{part}.{name}": value
            for number, started in enumerate(self._started)
            for part, values in (
                ("step", {"": torch.tensor(started.step)}),
                ("figures", {name: _float64(value) for name, value in started.figures.items()}),
                ("weights", started.weights),
            )
            for name, value in values.items()
        }

    def restart(self, agent: Agent, state: Mapping[str, Tensor]) -> None:
        """Play the evaluations of a checkpoint again, with copies of the agent."""
        evaluations: dict[int, dict[str, dict[str, Tensor]]] = {}
        for key, value in state.items():
            prefix, *rest = key.split(".", 3)
            if prefix == _PREFIX:
                number, part, name = rest
                evaluations.setdefault(int(number), {}).setdefault(part, {})[name] = value
        for _, parts in sorted(evaluations.items()):
            as_then = copy.deepcopy(agent)
            as_then.load_state_dict(parts["weights"])
            figures = {name: float(value) for name, value in parts["figures"].items()}
            self._play(as_then, _Started(int(parts["step"][""]), figures, parts["weights"]))

    def _play(self, agent: Agent, started: _Started) -> None:
        self._started.append(started)
        self._scoring.play(agent, partial(self._add, started))

    def _add(self, started: _Started, results: list[EpisodeResult]) -> None:
        # Results arrive in the order in which their evaluations started.
        self._started.popleft()
        means = mean_results(results, self._limit)
        self._curve.append({"step": started.step, **means, **started.figures})
        self._on_point(self._curve[-1])


def _float64(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def run_training(
    training: Training,
    curve: Curve,
    describe: Callable[[], Checkpoint],
    store: CheckpointStore | None,
    on_steps: OnSteps,
    evaluation: PeriodicEvaluation | None = None,
    *,
    metrics: Metrics,
) -> None:
    """Run a training from its current step to its end.

    SIGTERM and Ctrl-C end the training after its current step and a checkpoint.

    Args:
        curve: learning curve so far, saved with each checkpoint.
        describe: returns the checkpoint document of the current step.
        store: gets a checkpoint at regular times, except at the last step, which the caller saves;
            None saves no checkpoints.
        on_steps: reports progress.
        metrics: receives figures and new points of the curve.

    Raises:
        Interrupted: a signal ended the training; the message says what is saved.
        TrainingDiverged: the losses are no longer finite. Evaluations may still be running:
            `evaluation.finish()` records them.
    """

    def state() -> dict[str, Tensor]:
        return {**training.state(), **(evaluation.state() if evaluation else {})}

    between_steps = True
    metrics.start(training, curve)
    # On a slow machine, the first metrics must not wait for many steps.
    stride = 1
    try:
        while training.step < training.steps:
            stop = evaluation.next_after(training.step) if evaluation else training.steps
            between_steps = False
            with deferred():
                training.run(min(training.step + stride, stop), on_steps)
            stride = training.stride
            between_steps = True
            if is_requested():
                raise Interrupted
            if evaluation is not None:
                evaluation.poll()
                if training.step == stop:
                    evaluation.evaluate(training)
            metrics.follow()
            if store is not None and store.schedule.due and training.step < training.steps:
                # The checkpoint of a training that has diverged would replace the last good one.
                training.figures()
                with deferred():
                    store.try_save(training.agent, describe(), curve, state())
        if evaluation is not None:
            evaluation.finish()
        metrics.follow()
    except Interrupted as interrupted:
        if store is None or not between_steps or not training.step:
            raise
        try:
            training.figures()
            with deferred():
                store.save(training.agent, describe(), curve, state())
        except (QCError, OSError) as error:
            log.error(f"{store.name} cannot be saved at step {training.step:,}: {error}")
            raise interrupted from error
        saved = f"{store.name} is saved at step {training.step:,}"
        log.info(saved)
        raise Interrupted(saved) from interrupted
