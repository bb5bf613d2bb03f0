"""Start a training, or resume it from its newest checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from torch import Tensor

from qc_core.config.differences import changed_training
from qc_core.config.document import to_mapping
from qc_core.config.settings import Config
from qc_core.errors import UsageError
from qc_core.log import log
from qc_core.training.checkpoint import Checkpoint, Curve, read_checkpoint, read_curve
from qc_core.training.checkpoint_store import CheckpointStore
from qc_core.training.device import DEVICE_FAULTS
from qc_core.training.loop import Training
from qc_core.training.saved_agent import load_training_state

# What a damaged checkpoint raises, except for DEVICE_FAULTS, which are RuntimeErrors too.
_DAMAGE = (UsageError, KeyError, IndexError, ValueError, TypeError, RuntimeError)
T = TypeVar("T", bound=Training)


class Resumed(NamedTuple, Generic[T]):
    """A training at the step of its newest checkpoint, or a new one.

    Attributes:
        curve: learning curve so far.
        state: the training state that was saved with the checkpoint; empty for a new training.
    """

    training: T
    curve: Curve
    state: Mapping[str, Tensor]


def start_or_resume(
    store: CheckpointStore | None,
    config: Config,
    dataset_digest: str,
    start: Callable[[Path | None], T],
    steps_done: Callable[[Checkpoint], int],
    *,
    or_start_over: bool = False,
) -> Resumed[T]:
    """Start a training, or resume it from its newest checkpoint.

    Args:
        start: makes the training with the agent of a checkpoint folder, or of a new training.
        steps_done: the steps of this training that a checkpoint contains.
        or_start_over: if the checkpoint cannot be used, log it and start over.

    Raises:
        UsageError: the checkpoint has other options or other data, or it is damaged.
    """
    if store is None or store.newest is None:
        return Resumed(start(None), [], {})
    try:
        resumed = _resume(store, store.newest, config, dataset_digest, start, steps_done)
    except UsageError as error:
        if not or_start_over:
            raise
        log.info(f"{store.name} starts over: {error}")
        return Resumed(start(None), [], {})
    step = resumed.training.step
    log.info(f"{store.name} resumes from step {step:,}, saved in {store.location}")
    return resumed


def _resume(
    store: CheckpointStore,
    folder: Path,
    config: Config,
    dataset_digest: str,
    start: Callable[[Path | None], T],
    steps_done: Callable[[Checkpoint], int],
) -> Resumed[T]:
    with resuming_from(store.location):
        checkpoint = read_checkpoint(folder)
    if difference := _difference(checkpoint, config, dataset_digest):
        raise UsageError(
            f"{store.location} {difference}: give the same to resume, or delete it to start over"
        )
    with resuming_from(store.location):
        curve, done = read_curve(folder), steps_done(checkpoint)
        # A checkpoint from the end of an earlier phase has no state of this one.
        state = load_training_state(folder) if done else {}
        training = start(folder)
        try:
            if done:
                training.restore(state)
            if training.step != done:
                raise UsageError(
                    f"its training state is at step {training.step}, checkpoint.json is at {done}"
                )
        except BaseException:
            training.close()
            raise
    return Resumed(training, curve, state)


@contextmanager
def resuming_from(location: str) -> Iterator[None]:
    """Turn what a damaged checkpoint raises into one line with a remedy (UsageError)."""
    try:
        yield
    except DEVICE_FAULTS:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"cannot resume from {location}: {reason}; delete it to start over"
        ) from error


def _difference(checkpoint: Checkpoint, config: Config, dataset_digest: str) -> str:
    """Return which options or data of a checkpoint differ from the given ones, or ''."""
    if changed := changed_training(to_mapping(checkpoint.config), to_mapping(config)):
        return f"was started with {', '.join(changed)}"
    if checkpoint.dataset_digest != dataset_digest:
        return (
            f"was started on a dataset with digest {checkpoint.dataset_digest[:12]}, not "
            f"{dataset_digest[:12]}"
        )
    return ""
