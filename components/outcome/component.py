"""Reports the run's status, whether it succeeded or failed.

The name `outcome` remains because schedules that are pinned to an older version run a step of that
name, and clusters have a service account for it.
"""

from kfp import dsl

from components.image import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def outcome(
    status: dsl.PipelineTaskFinalStatus,
    run_id: str,
    run_name: str,
    recipe: str,
    summary: dsl.Output[dsl.Markdown],
    result: dsl.Output[dsl.Metrics],
):
    """Write the run's status to the store, and post it to a webhook if one is configured.

    Args:
        status: Final status of the other steps. KFP 2.17 leaves its message empty; the argument
            lets this step run after a failure.
        run_id: Id of the run.
        run_name: Name of the run; KFP leaves it empty for some scheduled runs.
        recipe: Named configuration.
        summary: The result in one sentence, the compared policies and the published version; or the
            error, and where its log is.
        result: A few numbers, with the same names in every run. No other step has metrics, so that
            KFP compares runs by these.
    """
    from dataclasses import replace
    from pathlib import Path

    from components.outcome.run_facts import place_of_log, read_run_facts
    from qc_core.notify.completion import read_completion
    from qc_core.notify.run_status import notify_run_status
    from qc_core.notify.run_summary import result_metrics, summary_markdown
    from qc_core.progress import step
    from qc_core.store.open import open_store

    with step("outcome", "report how the run ended"):
        facts = read_run_facts(run_id)
        store = open_store()
        ended = notify_run_status(
            store,
            run_id=run_id,
            recipe=recipe,
            facts=replace(facts, name=facts.name or run_name),
        )
        completion = read_completion(store, run_id)
        text = summary_markdown(ended, completion, place_of_log(ended.step))
        Path(summary.path).write_text(text, encoding="utf-8")
    for name, value in result_metrics(completion).items():
        result.log_metric(name, value)
