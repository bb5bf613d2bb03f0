"""Publishes the policy in the store."""

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def promote(
    config: dsl.Input[dsl.Artifact],
    held_out: dsl.Input[dsl.Dataset],
    policy: dsl.Input[dsl.Model],
    checkpoint: dsl.Input[dsl.Model],
    run_id: str,
    promotion: dsl.Output[dsl.Artifact],
):
    """Publish the policy as a new version; champion if it passes the gate.

    Args:
        config: The resolved configuration.
        held_out: Episodes to evaluate on if there is no simulator; else an empty folder.
        policy: The policy folder.
        checkpoint: The policy's checkpoint, published with it so that later training can start
            from it.
        run_id: Id of the run. A repeated step finds the version that it published by it.
        promotion: Name and version of the policy and its comparison with the champion, as JSON.
    """
    from dataclasses import asdict
    from pathlib import Path

    from components.facts import promotion_facts
    from qc_core.config.document import read_config
    from qc_core.documents import write
    from qc_core.files import sha256_of
    from qc_core.notify.step import run_step
    from qc_core.policy_format.policy_folder import CHECKSUMS
    from qc_core.publish.promote import promote
    from qc_core.results.step_results import compute_once
    from qc_core.store.open import open_store

    with run_step("promote", "publish the policy, champion if it passes the gate", run_id):
        resolved, store = read_config(Path(config.path)), open_store()

        def compute() -> None:
            result = promote(
                resolved,
                Path(policy.path),
                store,
                run_id,
                Path(checkpoint.path),
                Path(held_out.path),
            )
            write(Path(promotion.path), result)

        depends_on = {
            **asdict(resolved.publish),
            "policy": sha256_of(Path(policy.path) / CHECKSUMS),
        }
        compute_once(store, run_id, "promote", depends_on, {"promotion": promotion}, compute)
        promotion.metadata.update(promotion_facts(Path(promotion.path)))
