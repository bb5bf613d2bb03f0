"""The offline phase, from a data set to a checkpoint."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qc_core.config.document import to_mapping
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import Dataset, open_dataset, require_environment
from qc_core.documents import to_json
from qc_core.errors import TrainingDiverged
from qc_core.files import require_vacant
from qc_core.log import log
from qc_core.progress import Progress
from qc_core.provenance import git_commit
from qc_core.registry.parent import parent_of, pin_parent
from qc_core.store.objects import ObjectStore
from qc_core.timestamps import new_stamp
from qc_core.training.checkpoint import (
    CheckpointInfo,
    load_agent,
    load_training_state,
    read_curve,
    read_info,
    save_checkpoint,
)
from qc_core.training.checkpoint_store import Kept, require_same, require_step, restoring
from qc_core.training.device import share_cpu, training_device
from qc_core.training.local_checkpoints import LocalCheckpointStore
from qc_core.training.offline import OfflineTraining
from qc_core.training.remote_checkpoints import RemoteCheckpointStore
from qc_core.training.updates import PER_RECORDING
from qc_core.training.warm_start import parents_agent

# Updates between two looks at the clock.
_STRETCH = 2 * PER_RECORDING


def pretrain(
    config: Config, dataset_folder: Path, output: Path, store: ObjectStore | None = None
) -> None:
    """Train `config.train.offline_steps` updates and write a checkpoint to `output`.

    A method without an offline phase gets a checkpoint of its fresh networks.

    About once a minute the training is kept in `OUTPUT.partial`, or in the store. Where a
    training was broken off, the same call goes on from there, on the same CPU to the same weights.

    With `config.train.warm_start` training begins with that policy's networks, their scaling of
    observations and Adam's moments; updates are counted and rates fall from the start.

    Args:
        store: to keep the training in, from where other machines can go on with it.

    Raises:
        UsageError: a data set that is broken, too short or not the environment's; a policy to begin
            with that is not there or does not fit; an output folder in use; a training that was
            broken off and had other options or other data, or whose checkpoint is damaged.
        RunError: the losses are no longer finite; the store does not answer at the start.
    """
    require_vacant(output, staged=True)
    share_cpu()
    config = pin_parent(config)
    dataset = open_dataset(dataset_folder)
    require_environment(str(dataset.folder), dataset.spec.id, config.environment)
    with (
        _keeping(config, dataset, output, store) as kept,
        _begun(config, dataset, kept) as training,
    ):

        def info() -> CheckpointInfo:
            return CheckpointInfo(
                config=config,
                spec=dataset.spec,
                dataset_digest=dataset.digest,
                dataset_source=dataset.source,
                dataset_extent=to_json(dataset.extent),
                offline_steps=training.step,
                parent=parent_of(config),
            )

        if training.steps:
            with Progress(training.steps, "offline", "update", done=training.step) as progress:
                while training.step < training.steps:
                    _train(training, kept, progress)
                    if training.step < training.steps and kept.pace.due:
                        kept.keep(training.agent, info(), training.curve, training.state())
        else:
            log.info(f"{config.train.method} has no offline phase: it learns online from both")
        save_checkpoint(output, training.agent, info(), training.curve)
        kept.remove()


@contextmanager
def _keeping(
    config: Config, dataset: Dataset, output: Path, store: ObjectStore | None
) -> Iterator[Kept]:
    """Where the training is kept while it works."""
    if store is None:
        yield LocalCheckpointStore(output)
        return
    # Whoever learns the same with the same code may go on with it, as a pipeline's cache would.
    same = json.dumps([git_commit(), to_mapping(config), dataset.digest], sort_keys=True)
    prefix = f"pretraining/{hashlib.sha256(same.encode()).hexdigest()[:32]}/"
    with tempfile.TemporaryDirectory(prefix="qc-pretraining-") as scratch:
        yield RemoteCheckpointStore(store, prefix, new_stamp(), Path(scratch), "pretraining")


def _train(training: OfflineTraining, kept: Kept, progress: Progress) -> None:
    until = min(training.step + _STRETCH, training.steps)
    try:
        training.run(until, progress.update)
    except TrainingDiverged:
        # From its checkpoint it would diverge again.
        kept.remove()
        raise


def _begun(config: Config, dataset: Dataset, kept: Kept) -> OfflineTraining:
    """A new training, or the one that was broken off."""
    device, checkpoint = training_device(), kept.checkpoint
    if checkpoint is None:
        return OfflineTraining(config, dataset, device, parents_agent(config, dataset.spec, device))
    with restoring(kept.place):
        info = read_info(checkpoint)
    require_same(info, config, dataset.digest, kept.place)
    with restoring(kept.place):
        # The scale of the observations is the agent's: the data need not be read for it.
        agent = load_agent(checkpoint, device)
        training = OfflineTraining(config, dataset, device, agent)
        training.restore(load_training_state(checkpoint), read_curve(checkpoint))
        require_step(training.step, info.offline_steps)
    log.info(f"going on from update {training.step:,}, kept in {kept.place}")
    return training
