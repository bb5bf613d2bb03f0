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
    study_storage: str,
    config: dsl.Output[dsl.Artifact],
) -> List[str]:
    """Resolve the recipe and open the tuning study.

    Args:
        recipe: Named configuration.
        method: What learns, or AS_THE_RECIPE.
        overrides: Options that change it, as on the command line.
        study_name: Name of the tuning study.
        study_storage: Path of the study's journal; empty for the QC_STUDY_STORAGE URL.
        config: The resolved configuration.

    Returns:
        One entry per tuning worker.
    """
    from pathlib import Path

    from qc_core.progress import step
    from qc_core.tuning.prepare import prepare

    with step("configure", "resolve the recipe, open the tuning study"):
        return prepare(recipe, method, overrides, study_name, study_storage, Path(config.path))
