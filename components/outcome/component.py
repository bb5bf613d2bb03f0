"""Tell how the run ended, whether it went well or not."""

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def outcome(status: dsl.PipelineTaskFinalStatus, run: str, run_name: str, recipe: str):
    """Write the run's outcome to the store and to a webhook if one is configured.

    Args:
        status: How the steps ended, as far as KFP knows.
        run: Id of the run.
        run_name: Name of the run.
        recipe: Named configuration.
    """
    from qc_core.notify.run_status import notify_run_status
    from qc_core.progress import step
    from qc_core.store.open import open_store

    with step("outcome", "tell how the run ended"):
        notify_run_status(
            open_store(),
            run_id=run,
            name=run_name,
            recipe=recipe,
            error=status.error_message or "",
        )
