"""Selects the checkpoint to publish: the best trial's, or the offline one."""

from typing import List

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def select(
    config: dsl.Input[dsl.Artifact],
    trials: dsl.Input[List[dsl.Artifact]],
    offline: dsl.Input[dsl.Model],
    run_id: str,
    checkpoint: dsl.Output[dsl.Model],
    best_trial: dsl.Output[dsl.Model],
    history: dsl.Output[dsl.Artifact],
):
    """Compare all trials with the offline policy, and select the checkpoint to publish.

    Args:
        config: The resolved configuration.
        trials: Results of each worker's trials. KFP starts this step when all workers have ended.
        offline: The pretrained checkpoint, selected unless a trial is better beyond chance.
        run_id: Id of the run, whose record in the store names its study in QC_STUDY_STORAGE.
        checkpoint: The checkpoint to publish: the best trial's, or the offline one.
        best_trial: The best trial's checkpoint; the offline one if no trial is complete.
        history: Every trial of the study, and how the trials compare with the offline policy.
    """
    from pathlib import Path

    from components.facts import checkpoint_facts, history_facts
    from qc_core.config.document import read_config
    from qc_core.notify.step import run_step
    from qc_core.results.run_record import study_of
    from qc_core.store.open import open_store
    from qc_core.tuning.select import select_best

    with run_step("select", "compare the trials with the offline policy", run_id):
        select_best(
            read_config(Path(config.path)),
            Path(offline.path),
            study_of(open_store(), run_id),
            "",
            Path(best_trial.path),
            Path(history.path),
            published=Path(checkpoint.path),
        )
        for artifact in (checkpoint, best_trial):
            artifact.metadata.update(checkpoint_facts(Path(artifact.path)))
        history.metadata.update(history_facts(Path(history.path)))
