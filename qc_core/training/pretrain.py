"""The offline phase, from a data set to a checkpoint."""

from __future__ import annotations

from pathlib import Path

from qc_core.data.dataset import open_dataset, require_environment
from qc_core.files import require_vacant
from qc_core.progress import Progress, say
from qc_core.recipes.config import Config
from qc_core.training.checkpoint import CheckpointInfo, save_checkpoint
from qc_core.training.device import training_device
from qc_core.training.offline import OfflineTraining


def pretrain(config: Config, dataset_folder: Path, output: Path) -> None:
    """Train `config.train.offline_steps` updates and write a checkpoint to `output`.

    A method without an offline phase gets a checkpoint of its fresh networks.

    Raises:
        WrongUse: a data set that is broken, too short or not the environment's; an output
            folder in use.
        WorkFailed: the losses are no longer finite.
    """
    require_vacant(output)
    dataset = open_dataset(dataset_folder)
    require_environment(str(dataset.folder), dataset.spec.id, config.environment)
    with OfflineTraining(config, dataset, training_device()) as training:
        if training.steps:
            with Progress(training.steps, "offline", "update") as progress:
                training.run(training.steps, progress.update)
        else:
            say(f"{config.train.method} has no offline phase: it learns online from both")
    save_checkpoint(
        output,
        training.agent,
        CheckpointInfo(
            config=config,
            spec=dataset.spec,
            dataset_digest=dataset.digest,
            offline_steps=training.steps,
        ),
        training.curve,
    )
