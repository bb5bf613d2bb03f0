"""Exports the selected policy to ONNX."""

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def export(
    checkpoint: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    run_id: str,
    policy: dsl.Output[dsl.Model],
):
    """Export the selected policy to ONNX and check it against torch.

    Args:
        checkpoint: The selected checkpoint.
        evaluation: The comparison, whose results become metadata of the policy.
        run_id: Id of the run, to which the step reports an error.
        policy: The policy folder.
    """
    from pathlib import Path

    from components.facts import policy_facts
    from qc_core.export.export import export
    from qc_core.files import sha256_of
    from qc_core.notify.step import run_step
    from qc_core.results.step_results import compute_once
    from qc_core.store.open import open_store
    from qc_core.training.checkpoint import weights_digest

    with run_step("export", "write the policy as one ONNX file", run_id):
        compute_once(
            open_store(),
            run_id,
            "export",
            {
                "checkpoint": weights_digest(Path(checkpoint.path)),
                "evaluation": sha256_of(Path(evaluation.path)),
            },
            {"policy": policy},
            lambda: export(Path(checkpoint.path), Path(policy.path), Path(evaluation.path)),
        )
        policy.metadata.update(policy_facts(Path(policy.path)))
