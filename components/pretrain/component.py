"""Trains offline on the dataset."""

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def pretrain(
    config: dsl.Input[dsl.Artifact],
    dataset: dsl.Input[dsl.Dataset],
    gpus: str,
    cpus: str,
    memory: str,
    run_id: str,
    checkpoint: dsl.Output[dsl.Model],
):
    """Train offline on the dataset.

    Args:
        config: The resolved configuration.
        dataset: The dataset folder.
        gpus, cpus, memory: Resources of the pod. They are arguments because, inside a
            condition, KFP passes only a step's arguments to its resource requests.
        run_id: Id of the run, to which the step reports an error.
        checkpoint: Weights, optimiser state and learning curve.
    """
    from pathlib import Path

    from components.facts import checkpoint_facts
    from qc_core.config.document import read_config
    from qc_core.data.dataset.dataset import open_dataset
    from qc_core.notify.step import run_step
    from qc_core.results.step_results import compute_once
    from qc_core.store.open import open_store
    from qc_core.tracking.open import pipeline_run
    from qc_core.training.device import require_gpus
    from qc_core.training.pretrain import pretrain

    with run_step("pretrain", "train offline on the dataset", run_id):
        require_gpus(gpus)
        resolved, data, store = read_config(Path(config.path)), Path(dataset.path), open_store()
        compute_once(
            store,
            run_id,
            "pretrain",
            {"dataset": open_dataset(data).digest},
            {"checkpoint": checkpoint},
            lambda: pretrain(
                resolved, data, Path(checkpoint.path), store, tracked=pipeline_run(run_id)
            ),
        )
        checkpoint.metadata.update(checkpoint_facts(Path(checkpoint.path)))
