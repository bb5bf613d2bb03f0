"""One worker of the tuning study."""

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def tune(
    config: dsl.Input[dsl.Artifact],
    dataset: dsl.Input[dsl.Dataset],
    checkpoint: dsl.Input[dsl.Model],
    worker: str,
    study_name: str,
    gpu_type: str,
    gpus: str,
    cpus: str,
    memory: str,
    trials: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
):
    """Fine-tune online, one trial after the other, until every one of the shared study has ended.

    Args:
        config: The resolved configuration.
        dataset: The data set folder.
        checkpoint: The pretrained checkpoint.
        worker: Number of this worker.
        study_name: Name of the tuning study in QC_STUDY_STORAGE.
        gpu_type, gpus, cpus, memory: What its pod is given. They are arguments because, inside a
            loop, KFP hides from a pod's resources whatever is not one.
        trials: What this worker's trials came to.
        metrics: How many of them came to what, and the best.
    """
    from pathlib import Path

    from qc_core.config.document import read_config
    from qc_core.progress import step
    from qc_core.training.device import require_gpus
    from qc_core.tuning.trials import read_worker_trials, summary_metrics
    from qc_core.tuning.worker import run_worker

    with step("tune", "fine-tune online, the trials of one study side by side"):
        require_gpus(gpus)
        run_worker(
            read_config(Path(config.path)),
            Path(checkpoint.path),
            Path(dataset.path),
            Path(trials.path),
            study_name=study_name,
            storage="",
            worker=int(worker),
        )
    for name, value in summary_metrics(read_worker_trials(Path(trials.path))).items():
        metrics.log_metric(name, value)
