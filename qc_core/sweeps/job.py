"""One run of the offline-to-online protocol, which goes on where it was broken off."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from qc_core.agents.agent import Agent
from qc_core.config.methods import METHODS
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import Dataset, open_dataset, require_match
from qc_core.envs.episode_result import EpisodeResult, mean_results
from qc_core.envs.make import describe
from qc_core.errors import UsageError
from qc_core.files import writing_to
from qc_core.seeds import seeds_for
from qc_core.training.checkpoint import (
    CURVE,
    CheckpointInfo,
    Curve,
    load_agent,
    load_training_state,
    read_curve,
    read_info,
    save_checkpoint,
    write_curve,
)
from qc_core.training.checkpoint_store import require_step, restoring
from qc_core.training.device import training_device
from qc_core.training.offline import OfflineTraining
from qc_core.training.online import OnlineTraining
from qc_core.training.scoring import Scoring

_CHECKPOINT = "checkpoint-"
# One whose point of the curve is still being played.
_UNSCORED = "unscored-"


def run_job(
    config: Config,
    dataset_folder: Path,
    folder: Path,
    *,
    evaluate_every: int,
    episodes: int,
    on_point: Callable[[dict[str, float]], None],
) -> None:
    """Train offline, then online, and evaluate on the way.

    After each evaluation `folder` holds one checkpoint with every point so far; training may go on
    while the episodes are played. A folder that has one already is gone on from there; episodes
    that were being explored then are given up.

    Args:
        evaluate_every: updates offline, environment steps online.
        on_point: called with each point of the curve: `step`, counting the offline steps of the
            recipe also for a method that has none, `success`, `steps` and `return`.
    """
    dataset = open_dataset(dataset_folder)
    with _Run(config, dataset, folder, evaluate_every, episodes, on_point) as run:
        run.do_the_rest()


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that a run has come to."""
    return max(_checkpoints(folder), key=lambda path: int(_step_of(path)), default=None)


def read_points(folder: Path) -> Curve:
    """Every point that a run has come to; the run may be going on."""
    while (checkpoint := last_checkpoint(folder)) is not None:
        try:
            return read_curve(checkpoint)
        except UsageError:
            # Unless a newer one has just taken its place, it is damaged.
            if last_checkpoint(folder) == checkpoint:
                raise
    return []


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{_CHECKPOINT}*") if _step_of(path).isdecimal()]


def _step_of(checkpoint: Path) -> str:
    return checkpoint.name.removeprefix(_CHECKPOINT)


def is_finished(config: Config, folder: Path) -> bool:
    """Whether a run has come to its end."""
    checkpoint = last_checkpoint(folder)
    return (
        checkpoint is not None and read_info(checkpoint).online_steps == config.train.online_steps
    )


class _Run(AbstractContextManager["_Run"]):
    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        folder: Path,
        evaluate_every: int,
        episodes: int,
        on_point: Callable[[dict[str, float]], None],
    ) -> None:
        self._config, self._dataset, self._folder = config, dataset, folder
        self._every, self._on_point = evaluate_every, on_point
        self._spec = describe(config.environment)
        require_match(dataset, self._spec)
        self._seeds = seeds_for("evaluate", config.seed, episodes)
        self._device = training_device()
        self._checkpoint = last_checkpoint(folder)
        self._points: Curve = read_curve(self._checkpoint) if self._checkpoint else []
        earlier = self._points[-1]["seconds"] if self._points else 0.0
        self._start = time.monotonic() - earlier
        self._closing = ExitStack()

    def __enter__(self) -> _Run:
        # A process that ended here before a checkpoint was scored, or the older one gone.
        older = [path for path in _checkpoints(self._folder) if path != self._checkpoint]
        for left in [*self._folder.glob(f"{_UNSCORED}*"), *older]:
            shutil.rmtree(left)
        self._scoring = self._closing.enter_context(Scoring(self._config, self._seeds))
        return self

    def __exit__(self, *error: Any) -> None:
        self._closing.__exit__(*error)

    def do_the_rest(self) -> None:
        train = self._config.train
        offline_steps = 0 if METHODS[train.method].online_only else train.offline_steps
        agent, offline, online = None, 0, 0
        if self._checkpoint is not None:
            info = read_info(self._checkpoint)
            offline, online = info.offline_steps, info.online_steps
            agent = load_agent(self._checkpoint, self._device, train)
        if agent is None or offline < offline_steps:
            agent = self._offline(agent, offline)
        if online < train.online_steps:
            agent.set_learning_rate(train.online_learning_rate)
            self._online(agent, online, offline_steps)
        self._scoring.finish()

    def _offline(self, agent: Agent | None, done: int) -> Agent:
        with OfflineTraining(self._config, self._dataset, self._device, agent) as training:
            if done:
                with restoring(self._checkpoint):
                    training.restore(self._training_state(), [])
                    require_step(training.step, done)
            for step in self._stops(done, training.steps):
                training.run(step, lambda *_: self._scoring.poll())
                self._keep(training.agent, training.figures(), training.state(), step, 0)
            return training.agent

    def _online(self, agent: Agent, done: int, offline_steps: int) -> None:
        steps = self._config.train.online_steps
        with OnlineTraining(self._config, agent, self._dataset, self._device, trial=0) as training:
            if done:
                with restoring(self._checkpoint):
                    training.restore(self._training_state())
                    require_step(training.step, done)
            for step in self._stops(done, steps):
                training.run(step, self._scoring.poll)
                state = training.state() if step < steps else None
                self._keep(agent, training.figures(), state, offline_steps, step)

    def _stops(self, done: int, total: int) -> list[int]:
        """Where to evaluate: every so many steps, and at the end."""
        return [*range(done + self._every, total, self._every), *([total] if done < total else [])]

    def _keep(
        self,
        agent: Agent,
        figures: Mapping[str, float],
        state: Mapping[str, Tensor] | None,
        offline: int,
        online: int,
    ) -> None:
        """Keep what training can go on from, and have it evaluated."""
        # A method without an offline phase starts where the others go online.
        step = online + self._config.train.offline_steps if online else offline
        point = {**figures, "seconds": time.monotonic() - self._start}
        info = CheckpointInfo(
            config=self._config,
            spec=self._spec,
            dataset_digest=self._dataset.digest,
            dataset_source=self._dataset.source,
            dataset_extent=self._dataset.extent,
            offline_steps=offline,
            online_steps=online,
        )
        save_checkpoint(self._folder / f"{_UNSCORED}{step}", agent, info, [], state)
        self._scoring.play(agent, partial(self._finish, step, point))

    def _finish(self, step: int, point: dict[str, float], outcomes: list[EpisodeResult]) -> None:
        """Put a checkpoint with its point in the place of the last one."""
        scored = {"step": step, **mean_results(outcomes, self._spec.episode_limit), **point}
        self._points.append(scored)
        unscored = self._folder / f"{_UNSCORED}{step}"
        with writing_to(unscored):
            write_curve(unscored / CURVE, self._points)
        target = unscored.rename(self._folder / f"{_CHECKPOINT}{step}")
        if self._checkpoint is not None:
            shutil.rmtree(self._checkpoint)
        self._checkpoint = target
        self._on_point(scored)

    def _training_state(self) -> dict[str, Tensor]:
        assert self._checkpoint is not None
        return load_training_state(self._checkpoint)
