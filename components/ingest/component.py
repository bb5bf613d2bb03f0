"""Collects, downloads or converts the dataset."""

from typing import NamedTuple

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def ingest(
    config: dsl.Input[dsl.Artifact],
    run_id: str,
    dataset: dsl.Output[dsl.Dataset],
    held_out: dsl.Output[dsl.Dataset],
    new_data: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("decision", str)]):  # pyright: ignore
    """Write the dataset folder, and decide whether it has new data to train on.

    Args:
        config: The resolved configuration.
        run_id: Id of the run, whose status reports it if there is no new data.
        dataset: Memory-mappable arrays and dataset.json.
        held_out: Its held-out episodes if there is no simulator; else an empty folder.
        new_data: The parent policy, and whether the dataset is new to it, as JSON.

    Returns:
        decision: "train", or "stop" if the parent policy was trained on the same data.
    """
    from pathlib import Path

    from components.facts import dataset_facts, new_data_facts
    from qc_core.config.document import read_config
    from qc_core.data.hold_out import copy_held_out
    from qc_core.data.ingest import ingest
    from qc_core.notify.run_status import record_new_data, write_new_data
    from qc_core.notify.step import run_step
    from qc_core.results.step_results import compute_once
    from qc_core.store.open import open_store

    with run_step("ingest", "collect or convert the dataset", run_id):
        resolved, store = read_config(Path(config.path)), open_store()

        def compute() -> None:
            ingest(resolved, Path(dataset.path))
            copy_held_out(resolved, Path(dataset.path), Path(held_out.path))
            write_new_data(resolved, Path(dataset.path), store, Path(new_data.path))

        outputs = {"dataset": dataset, "held-out": held_out, "new-data": new_data}
        compute_once(store, run_id, "ingest", {}, outputs, compute)
        new = record_new_data(store, run_id, Path(new_data.path))
        dataset.metadata.update(dataset_facts(Path(dataset.path)))
        new_data.metadata.update(new_data_facts(Path(new_data.path)))
    return ("train" if new else "stop",)
