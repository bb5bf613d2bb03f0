"""Check what was asked for before anything costs time."""

from typing import List

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def configure(
    recipe: str,
    method: str,
    overrides: str,
    study_name: str,
    gpus: str,
    cpus: str,
    memory: str,
    webhook_secret: str,
    signing_secret: str,
    config: dsl.Output[dsl.Artifact],
) -> List[str]:
    """Resolve the recipe and open the tuning study.

    Args:
        recipe: Named configuration.
        method: What learns, or AS_THE_RECIPE.
        overrides: Options that change it, as on the command line.
        study_name: Name of the tuning study in QC_STUDY_STORAGE.
        gpus, cpus, memory, webhook_secret, signing_secret: What later steps are given, to check
            it before they come.
        config: The resolved configuration.

    Returns:
        One entry per tuning worker.
    """
    from pathlib import Path

    from pipeline.inputs import require_usable
    from qc_core.progress import step
    from qc_core.tuning.prepare import prepare

    with step("configure", "resolve the recipe, open the tuning study"):
        require_usable("gpus", gpus)
        require_usable("cpus", cpus)
        require_usable("memory", memory)
        require_usable("webhook_secret", webhook_secret)
        require_usable("signing_secret", signing_secret)
        return prepare(recipe, method, overrides, study_name, Path(config.path))
