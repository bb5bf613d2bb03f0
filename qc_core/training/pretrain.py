"""The offline phase: trains on a dataset and writes a checkpoint."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from qc_core.config.differences import training_part
from qc_core.config.document import to_mapping
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import Dataset, open_dataset, require_environment
from qc_core.data.dataset.info import unrewarded
from qc_core.errors import TrainingDiverged, UsageError
from qc_core.files import require_vacant
from qc_core.log import log
from qc_core.progress import Progress
from qc_core.provenance import git_commit
from qc_core.registry.parent import parent_of, pin_parent
from qc_core.scratch import scratch_folder
from qc_core.store.objects import ObjectStore
from qc_core.timestamps import new_stamp
from qc_core.tracking.metrics import Metrics
from qc_core.tracking.open import TrackedRun, open_metrics, run_of
from qc_core.training.checkpoint import DOCUMENT, Checkpoint, read_checkpoint, verify_checkpoint
from qc_core.training.checkpoint_store import CheckpointStore
from qc_core.training.device import share_cpu, training_device
from qc_core.training.local_checkpoints import LocalCheckpoints, partial_folder
from qc_core.training.loop import run_training
from qc_core.training.offline import OfflineTraining
from qc_core.training.remote_checkpoints import RemoteCheckpoints
from qc_core.training.resume import start_or_resume
from qc_core.training.saved_agent import load_agent, save_checkpoint
from qc_core.training.warm_start import parents_agent


def pretrain(
    config: Config,
    dataset_folder: Path,
    output: Path,
    store: ObjectStore | None = None,
    *,
    fresh: bool = False,
    tracked: TrackedRun | None = None,
) -> None:
    """Train `config.train.offline_steps` updates and write a checkpoint to `output`.

    A method without an offline phase gets a checkpoint of its initial networks.

    The training saves checkpoints in `OUTPUT.partial`, or in the store, at regular times and when
    it is interrupted by a signal. The same call resumes it, on the same CPU with the same final
    weights.

    With `config.train.warm_start` training starts from that policy's networks, observation
    normalisation and Adam moments; update counter and learning rate start from the beginning.

    Args:
        store: saves the checkpoints there, so that another machine can resume the training.
        fresh: delete the checkpoint that an earlier call has written, and start over.
        tracked: the run that the metrics belong to; None writes to `OUTPUT.metrics`.

    Raises:
        UsageError: the dataset is damaged, too short or of another environment; the policy to
            start from does not exist or does not fit; the output folder is in use; the interrupted
            training had other options or other data, or its checkpoint is damaged.
        TrainingDiverged: the losses are no longer finite.
        RunError: the store does not answer at the start.
    """
    if not output.exists():
        require_vacant(output, staged=True)
    config = pin_parent(config)
    dataset = open_dataset(dataset_folder)
    require_environment(str(dataset.folder), dataset.spec.id, config.environment)
    if fresh:
        _delete(output)
    if _is_complete(config, dataset, output):
        log.info(f"{output} is the result of this command: delete it or give --fresh to start over")
        return
    require_vacant(output, staged=True)
    if warning := unrewarded(dataset.info):
        log.warning(warning)
    share_cpu()
    device = training_device()

    def start(checkpoint: Path | None) -> OfflineTraining:
        if checkpoint is None:
            agent = parents_agent(config, dataset.spec, device)
        else:
            agent = load_agent(checkpoint, device)
        return OfflineTraining(config, dataset, device, agent)

    with _checkpoint_store(config, dataset, output, store) as checkpoints:
        training, curve, _ = start_or_resume(
            checkpoints, config, dataset.digest, start, lambda saved: saved.offline_steps
        )
        training.curve.extend(curve)

        def describe() -> Checkpoint:
            return Checkpoint(
                config=config,
                spec=dataset.spec,
                dataset_digest=dataset.digest,
                dataset_source=dataset.source,
                dataset_extent=dataset.extent,
                offline_steps=training.step,
                online_steps=0,
                parent=parent_of(config),
            )

        with training:
            if training.steps:
                with open_metrics(tracked or run_of(output), "offline", config) as metrics:
                    _train(training, describe, checkpoints, metrics)
            else:
                log.info(f"{config.train.method} has no offline phase: it uses the dataset online")
            save_checkpoint(output, training.agent, describe(), training.curve)
        checkpoints.remove()


def _is_complete(config: Config, dataset: Dataset, output: Path) -> bool:
    """Return whether the output is that of an earlier call with the same arguments."""
    if not (output / DOCUMENT).exists():
        return False
    verify_checkpoint(output)
    saved = read_checkpoint(output)
    return saved.config == config and saved.dataset_digest == dataset.digest


def _delete(output: Path) -> None:
    """Delete what an earlier call has written (UsageError: it is something else)."""
    if output.exists():
        if not (output / DOCUMENT).exists():
            raise UsageError(f"{output} is not a checkpoint folder: --fresh does not delete it")
        shutil.rmtree(output)
    LocalCheckpoints(partial_folder(output)).remove()


def _train(
    training: OfflineTraining,
    describe: Callable[[], Checkpoint],
    checkpoints: CheckpointStore,
    metrics: Metrics,
) -> None:
    with Progress(training.steps, "offline", "update", done=training.step) as progress:
        try:
            run_training(
                training, training.curve, describe, checkpoints, progress.update, metrics=metrics
            )
        except TrainingDiverged as error:
            if not checkpoints.has_checkpoint:
                raise
            raise TrainingDiverged(
                f"{error}; the last checkpoint before it is {checkpoints.location}: give --fresh "
                "to start over with other options"
            ) from error


@contextmanager
def _checkpoint_store(
    config: Config, dataset: Dataset, output: Path, store: ObjectStore | None
) -> Iterator[CheckpointStore]:
    """Open the checkpoint store of a training."""
    if store is None:
        yield CheckpointStore(LocalCheckpoints(partial_folder(output)), "pretraining")
        return
    # Every run with the same code, data and options of training may resume it, as KFP's cache may
    # reuse its output.
    part = training_part(to_mapping(config))
    key = json.dumps([git_commit(), part, dataset.digest], sort_keys=True)
    prefix = f"pretraining/{hashlib.sha256(key.encode()).hexdigest()[:32]}/"
    with scratch_folder("pretraining") as scratch:
        backend = RemoteCheckpoints(store, prefix, new_stamp(), scratch)
        yield CheckpointStore(backend, "pretraining")
