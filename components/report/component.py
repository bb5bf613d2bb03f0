"""Writes the report."""

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def report(
    config: dsl.Input[dsl.Artifact],
    dataset: dsl.Input[dsl.Dataset],
    offline: dsl.Input[dsl.Model],
    history: dsl.Input[dsl.Artifact],
    evaluation: dsl.Input[dsl.Artifact],
    policy: dsl.Input[dsl.Model],
    promotion: dsl.Input[dsl.Artifact],
    run_id: str,
    report: dsl.Output[dsl.HTML],
):
    """Write one self-contained HTML page about the run.

    Args:
        config: The resolved configuration.
        dataset: The dataset folder.
        offline: The pretrained checkpoint.
        history: Every trial of the study.
        evaluation: The comparison of the policies.
        policy: The policy folder.
        promotion: Name and version of the policy and its comparison with the champion.
        run_id: Id of the run, which this step marks as succeeded.
        report: The page.
    """
    from pathlib import Path

    from components.facts import promotion_facts
    from qc_core.config.document import read_config
    from qc_core.documents import read
    from qc_core.evaluation.result import Evaluation
    from qc_core.notify.completion import completion_of
    from qc_core.notify.run_status import record_completion
    from qc_core.notify.step import run_step
    from qc_core.publish.promotion import Promotion
    from qc_core.report.html import write_report
    from qc_core.report.track_result import tracking_result
    from qc_core.results.step_cost import read_costs
    from qc_core.runs.record import record_results
    from qc_core.store.open import open_store
    from qc_core.timestamps import utc_now
    from qc_core.tuning.trials import read_history

    description = "draw curves, record a video of the policy, write the report"
    results = [Path(found.path) for found in (evaluation, promotion, policy, report)]
    with (
        run_step("report", description, run_id),
        tracking_result(Path(config.path), run_id, *results),
    ):
        store = open_store()
        write_report(
            read_config(Path(config.path)),
            dataset=Path(dataset.path),
            offline=Path(offline.path),
            history=Path(history.path),
            evaluation=Path(evaluation.path),
            policy=Path(policy.path),
            promotion=Path(promotion.path),
            output=Path(report.path),
            date=utc_now(),
            run_id=run_id,
            costs=read_costs(store, run_id),
        )
        record_results(
            store,
            run_id,
            evaluation=Path(evaluation.path),
            offline=Path(offline.path),
            history=Path(history.path),
            report=Path(report.path),
        )
        completion = completion_of(
            read(Path(evaluation.path), Evaluation),
            read_history(Path(history.path)),
            read(Path(promotion.path), Promotion),
        )
        report.metadata.update(promotion_facts(Path(promotion.path)))
        record_completion(store, run_id, completion)
