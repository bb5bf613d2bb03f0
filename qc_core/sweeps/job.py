"""One job of a sweep: offline training, then online training, with evaluations on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from qc_core.agents.agent import Agent
from qc_core.config.methods import METHODS
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import open_dataset, require_match
from qc_core.envs.make import describe
from qc_core.errors import UsageError
from qc_core.seeds import seeds_for
from qc_core.tracking.open import open_metrics, run_of
from qc_core.training.checkpoint import TRAINING, Checkpoint, Curve, read_checkpoint, read_curve
from qc_core.training.checkpoint_store import CheckpointStore
from qc_core.training.device import training_device
from qc_core.training.local_checkpoints import LocalCheckpoints
from qc_core.training.loop import PeriodicEvaluation, Training, run_training
from qc_core.training.offline import OfflineTraining
from qc_core.training.online import OnlineTraining
from qc_core.training.resume import resuming_from, start_or_resume
from qc_core.training.saved_agent import load_agent
from qc_core.training.scoring import Scoring


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

    `folder` contains the newest checkpoints, with every point of the learning curve so far. The
    job resumes from the last one; episodes that were being explored then are abandoned.

    Args:
        evaluate_every: offline updates, or environment steps, between two evaluations; each phase
            is also evaluated at its end.
        episodes: episodes of each evaluation.
        on_point: called with each new point of the curve: `step`, `success`, `steps`, `return`.
            Online steps come after the recipe's offline steps, also for a method without an
            offline phase.

    Raises:
        UsageError: the dataset does not fit, or the checkpoint is damaged.
        TrainingDiverged: the losses are no longer finite.
    """
    train = config.train
    dataset = open_dataset(dataset_folder)
    spec = describe(config.environment, config.control_interval)
    require_match(dataset, spec)
    device = training_device()
    store = CheckpointStore(LocalCheckpoints(folder), "the job")
    offline_steps = 0 if METHODS[train.method].online_only else train.offline_steps
    online_done = 0
    if store.newest is not None:
        with resuming_from(store.location):
            if _is_complete(config, store.newest):
                return
            online_done = read_checkpoint(store.newest).online_steps

    def start_offline(checkpoint: Path | None) -> OfflineTraining:
        agent = load_agent(checkpoint, device, train) if checkpoint else None
        return OfflineTraining(config, dataset, device, agent)

    def start_online(checkpoint: Path | None) -> OnlineTraining:
        assert checkpoint is not None
        return online_training(load_agent(checkpoint, device, train))

    def online_training(agent: Agent) -> OnlineTraining:
        agent.set_learning_rate(train.online_learning_rate)
        return OnlineTraining(config, agent, dataset, device, trial=0)

    def run_phase(
        training: Training, curve: Curve, state: Mapping[str, Tensor], *, online: bool
    ) -> None:
        def checkpoint() -> Checkpoint:
            return Checkpoint(
                config=config,
                spec=spec,
                dataset_digest=dataset.digest,
                dataset_source=dataset.source,
                dataset_extent=dataset.extent,
                offline_steps=offline_steps if online else training.step,
                online_steps=training.step if online else 0,
            )

        def save_and_report(point: dict[str, float]) -> None:
            is_last = online and point["step"] == first_step + training.steps
            state = None if is_last else {**training.state(), **evaluation.state()}
            store.save(training.agent, checkpoint(), curve, state)
            on_point(point)

        stops = [*range(evaluate_every, training.steps, evaluate_every), training.steps]
        first_step = train.offline_steps if online else 0
        evaluation = PeriodicEvaluation(
            scoring, stops, spec.episode_limit, curve, save_and_report, first_step
        )
        evaluation.restart(training.agent, state)
        phase = "online" if online else "offline"
        with open_metrics(run_of(folder), phase, config, first_step=first_step) as metrics:
            run_training(
                training, curve, checkpoint, store, lambda *_: None, evaluation, metrics=metrics
            )

    with Scoring(config, seeds_for("evaluate", config.seed, episodes)) as scoring:
        if online_done:
            training, curve, state = start_or_resume(
                store, config, dataset.digest, start_online, lambda saved: saved.online_steps
            )
        else:
            training, curve, state = start_or_resume(
                store, config, dataset.digest, start_offline, lambda saved: saved.offline_steps
            )
            with training:
                run_phase(training, curve, state, online=False)
            training, state = online_training(training.agent), {}
        with training:
            run_phase(training, curve, state, online=True)


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a job, None before the first one."""
    return next(LocalCheckpoints(folder).saved(), None)


def read_points(folder: Path) -> Curve:
    """Return every point of a job so far; the job may be running."""
    while saved := [*LocalCheckpoints(folder).saved()]:
        for checkpoint in saved:
            with suppress(UsageError):
                return read_curve(checkpoint)
        # Newer checkpoints may just have replaced them; otherwise they are damaged.
        if [*LocalCheckpoints(folder).saved()] == saved:
            return read_curve(saved[0])
    return []


def is_finished(config: Config, folder: Path) -> bool:
    """Return whether a job has done all its steps; False if its last checkpoint is damaged."""
    checkpoint = last_checkpoint(folder)
    try:
        return checkpoint is not None and _is_complete(config, checkpoint)
    except UsageError:
        return False


def _is_complete(config: Config, checkpoint: Path) -> bool:
    """Return whether a checkpoint is the last one of a job: it has nothing to resume."""
    done = read_checkpoint(checkpoint).online_steps
    return done == config.train.online_steps and not (checkpoint / TRAINING).exists()
