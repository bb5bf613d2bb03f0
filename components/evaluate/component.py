"""Compares the policies on unseen episodes."""

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def evaluate(
    config: dsl.Input[dsl.Artifact],
    held_out: dsl.Input[dsl.Dataset],
    offline: dsl.Input[dsl.Model],
    online: dsl.Input[dsl.Model],
    run_id: str,
    evaluation: dsl.Output[dsl.Artifact],
):
    """Compare behaviour cloning, offline and fine-tuned policy on the same unseen episodes.

    Args:
        config: The resolved configuration.
        held_out: Episodes to evaluate on if there is no simulator; else an empty folder.
        offline: The pretrained checkpoint.
        online: The best trial's checkpoint, also if it is not published.
        run_id: Id of the run, to which the step reports an error.
        evaluation: The comparison with intervals, as JSON.
    """
    from pathlib import Path

    from components.facts import evaluation_facts
    from qc_core.config.document import read_config
    from qc_core.evaluation.evaluate import evaluate as compare
    from qc_core.notify.step import run_step
    from qc_core.results.step_results import compute_once
    from qc_core.store.open import open_store
    from qc_core.training.checkpoint import weights_digest

    with run_step("evaluate", "compare the policies on unseen episodes", run_id):
        resolved = read_config(Path(config.path))
        compute_once(
            open_store(),
            run_id,
            "evaluate",
            {
                "episodes": resolved.evaluate.episodes,
                "execution_horizon": resolved.evaluate.execution_horizon,
                "offline": weights_digest(Path(offline.path)),
                "online": weights_digest(Path(online.path)),
            },
            {"evaluation": evaluation},
            lambda: compare(
                resolved,
                Path(offline.path),
                Path(online.path),
                Path(evaluation.path),
                Path(held_out.path),
            ),
        )
        evaluation.metadata.update(evaluation_facts(Path(evaluation.path)))
