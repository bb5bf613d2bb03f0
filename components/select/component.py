"""Pick the best trial of all workers."""

from typing import List

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def select(
    trials: dsl.Input[List[dsl.Artifact]],
    study_name: str,
    checkpoint: dsl.Output[dsl.Model],
    history: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
):
    """Pick the best trial of all workers.

    Args:
        trials: What each worker's trials came to; when all are there, the study is over.
        study_name: Name of the tuning study in QC_STUDY_STORAGE.
        checkpoint: The best trial's checkpoint.
        history: Every trial of the study.
        metrics: How many trials came to what, and the best.
    """
    from pathlib import Path

    from qc_core.progress import step
    from qc_core.tuning.select import select_best
    from qc_core.tuning.trials import read_history, summary_metrics

    with step("select", "pick the best trial"):
        select_best(study_name, "", Path(checkpoint.path), Path(history.path))
    for name, value in summary_metrics(read_history(Path(history.path)).trials).items():
        metrics.log_metric(name, value)
