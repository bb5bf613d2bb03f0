"""Collect, fetch or convert the data set."""

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def ingest(
    config: dsl.Input[dsl.Artifact],
    run: str,
    dataset: dsl.Output[dsl.Dataset],
    news: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Write the data set folder, and tell whether there is anything new to learn from it.

    Args:
        config: The resolved configuration.
        run: The run, whose outcome says so if there is nothing new.
        dataset: Memory-mappable arrays and dataset.json.
        news: What training begins with, and whether the data are new to it, as JSON.
        metrics: Episodes and transitions.

    Returns:
        "train", or "stop" where the parent has learned from the same data.
    """
    from pathlib import Path

    from qc_core.config.document import read_config
    from qc_core.data.ingest import ingest
    from qc_core.notify.run_status import has_new_data
    from qc_core.progress import step
    from qc_core.store.open import open_store

    with step("ingest", "collect or convert the data set"):
        resolved = read_config(Path(config.path))
        manifest = ingest(resolved, Path(dataset.path))
        new = has_new_data(resolved, Path(dataset.path), open_store(), run, Path(news.path))
    for name in ("episodes", "transitions", "solved-transitions"):
        metrics.log_metric(name, manifest[name])
    return "train" if new else "stop"
