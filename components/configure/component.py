"""First step: checks all inputs and resolves the configuration before any work starts."""

from typing import List, NamedTuple

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def configure(
    recipe: str,
    method: str,
    overrides: str,
    run_id: str,
    gpus: str,
    cpus: str,
    memory: str,
    node_selector: dict,
    continue_run: str,
    config: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("workers", List[str])]):  # pyright: ignore
    """Resolve the recipe and open the tuning study.

    Args:
        recipe: Named configuration.
        method: Training method, or AS_THE_RECIPE.
        overrides: Options that change the recipe, as text of a command line.
        run_id: Id of the run, and name of its tuning study in QC_STUDY_STORAGE.
        gpus, cpus, memory, node_selector: Inputs of later steps, checked here because a later step
            would fail on them only when it starts.
        continue_run: Id of an earlier run whose finished results are taken over, or empty.
        config: The resolved configuration.

    Returns:
        workers: One entry per tuning worker.
    """
    from pathlib import Path

    from components.facts import config_facts
    from qc_core.config.resources import check_resources, warn_of_little_memory
    from qc_core.notify.step import run_step
    from qc_core.tuning.prepare import prepare

    with run_step("configure", "resolve the recipe, open the tuning study", run_id):
        check_resources(
            resources_gpus=gpus,
            resources_cpus=cpus,
            resources_memory=memory,
            resources_node_selector=node_selector,
        )
        warn_of_little_memory(recipe, cpus, memory)
        workers = prepare(
            recipe, method, overrides, run_id, Path(config.path), continue_run.strip()
        )
        config.metadata.update(config_facts(Path(config.path)))
    return (workers,)
