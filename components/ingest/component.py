"""Collect, fetch or convert the data set."""

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def ingest(
    config: dsl.Input[dsl.Artifact],
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
):
    """Write the data set folder.

    Args:
        config: The resolved configuration.
        dataset: Memory-mappable arrays and dataset.json.
        metrics: Episodes and transitions.
    """
    from pathlib import Path

    from qc_core.data.ingest import ingest
    from qc_core.progress import step
    from qc_core.recipes.resolve import read_config

    with step("ingest", "collect or convert the data set"):
        manifest = ingest(read_config(Path(config.path)), Path(dataset.path))
    for name in ("episodes", "transitions", "solved-transitions"):
        metrics.log_metric(name, manifest[name])
