"""One worker of the tuning study."""

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def tune(
    config: dsl.Input[dsl.Artifact],
    dataset: dsl.Input[dsl.Dataset],
    checkpoint: dsl.Input[dsl.Model],
    worker: str,
    run_id: str,
    gpus: str,
    cpus: str,
    memory: str,
    trials: dsl.Output[dsl.Artifact],
):
    """Fine-tune online, one trial after another, until all trials of the shared study have ended.

    Args:
        config: The resolved configuration.
        dataset: The dataset folder.
        checkpoint: The pretrained checkpoint.
        worker: Number of this worker.
        run_id: Id of the run, whose record in the store names its study in QC_STUDY_STORAGE.
        gpus, cpus, memory: Resources of the pod. They are arguments because, inside a
            loop, KFP passes only a step's arguments to its resource requests.
        trials: Results of this worker's trials.
    """
    from pathlib import Path

    from components.facts import worker_facts
    from qc_core.config.document import read_config
    from qc_core.notify.step import run_step
    from qc_core.results.run_record import study_of
    from qc_core.store.open import open_store
    from qc_core.tracking.open import pipeline_run
    from qc_core.training.device import require_gpus
    from qc_core.tuning.worker import run_worker

    with run_step("tune", "fine-tune online, trials of one study in parallel", run_id, worker):
        require_gpus(gpus)
        run_worker(
            read_config(Path(config.path)),
            Path(checkpoint.path),
            Path(dataset.path),
            Path(trials.path),
            study_name=study_of(open_store(), run_id),
            storage="",
            worker=int(worker),
            run_id=run_id,
            tracked=pipeline_run(run_id),
        )
        trials.metadata.update(worker_facts(Path(trials.path)))
