"""Sends the result of a run to the trackers of the environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qc_core import documents
from qc_core.config.document import read_config
from qc_core.evaluation.result import Evaluation
from qc_core.policy_format.policy_folder import CONTRACT
from qc_core.publish.promotion import Promotion
from qc_core.tracking.open import open_trackers, pipeline_run, start_message

# A report has a few megabytes.
_PATIENCE = 1.0


@contextmanager
def tracking_result(
    config: Path, run_id: str, evaluation: Path, promotion: Path, policy: Path, page: Path
) -> Iterator[None]:
    """Send the result of a run after the block, which writes the report.

    The senders start before the block, so that they are ready when it ends. Without a tracker,
    nothing happens.

    Args:
        config, evaluation, promotion, policy, page: outputs of the run's steps.
    """
    run = pipeline_run(run_id)
    start = start_message(run, None, read_config(config), {}, run.folder)
    senders = open_trackers(start, _PATIENCE)
    state = "failed"
    try:
        yield
        state = "finished"
        if senders:
            promoted = documents.read(promotion, Promotion)
            metrics = _metrics(documents.read(evaluation, Evaluation))
            tags = {
                "policy": f"{promoted.name}:{promoted.version}",
                "champion": str(promoted.champion).lower(),
            }
            artifacts = {"report.html": page, CONTRACT: policy / CONTRACT}
            for sender in senders:
                sender.result(metrics, tags, artifacts)
    finally:
        for sender in senders:
            sender.close(state)


def _metrics(evaluation: Evaluation) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for policy in evaluation.policies:
        name = policy.name.replace(" ", "_")
        if policy.reports_success:
            metrics[f"success/{name}"] = policy.success.value
            metrics[f"steps/{name}"] = policy.steps.value
        else:
            metrics[f"return/{name}"] = policy.episode_return.value
    for held_out in evaluation.held_out:
        name = held_out.name.replace(" ", "_")
        metrics[f"log_likelihood/{name}"] = held_out.log_likelihood.value
    return metrics
