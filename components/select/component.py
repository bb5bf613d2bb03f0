"""Selects the best trial of all workers."""

from typing import List

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def select(
    trials: dsl.Input[List[dsl.Artifact]],
    offline: dsl.Input[dsl.Model],
    run_id: str,
    checkpoint: dsl.Output[dsl.Model],
    history: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
):
    """Select the best trial of all workers.

    Args:
        trials: Results of each worker's trials. KFP starts this step when all workers have ended.
        offline: The pretrained checkpoint, which is selected if there are no trials.
        run_id: Id of the run, whose record in the store names its study in QC_STUDY_STORAGE.
        checkpoint: The best trial's checkpoint.
        history: Every trial of the study.
        metrics: Number of trials by state, and the best result.
    """
    from pathlib import Path

    from qc_core.notify.step import run_step
    from qc_core.results.run_record import study_of
    from qc_core.store.open import open_store
    from qc_core.tuning.select import select_best
    from qc_core.tuning.trials import read_history, summary_metrics

    with run_step("select", "select the best trial", run_id):
        study = study_of(open_store(), run_id)
        select_best(study, "", Path(checkpoint.path), Path(history.path), Path(offline.path))
    for name, value in summary_metrics(read_history(Path(history.path)).trials).items():
        metrics.log_metric(name, value)
