"""What the Optuna dashboard shows about a study: its run, its objective, a link."""

from __future__ import annotations

import os
from importlib.util import find_spec

import optuna

from qc_core import provenance
from qc_core.config.settings import Config

KFP_URL_VARIABLE = "QC_KFP_URL"
_METRICS = {True: "success", False: "return", None: "success or return"}


def describe_study(
    study: optuna.Study, run_id: str, config: Config, reports_success: bool | None
) -> None:
    """Name a study's objective and the run that it belongs to.

    Args:
        reports_success: whether trials are compared by success, or by return; None if it is
            unknown.
    """
    metric = _METRICS[reports_success]
    study.set_metric_names([metric])
    method, run = config.train.method, provenance.run_id() or run_id
    attributes = {
        "run": run,
        "recipe": config.recipe,
        "method": method,
        "environment": config.environment,
        "seed": config.seed,
    }
    kfp = os.environ.get(KFP_URL_VARIABLE)
    page = f"{kfp.rstrip('/')}/#/runs/details/{run_id}" if kfp else ""
    if page:
        attributes["page"] = page
    for name, value in attributes.items():
        study.set_user_attr(name, value)
    if find_spec("optuna_dashboard") is not None:
        from optuna_dashboard import save_note

        link = f"[{run}]({page})" if page else f"`{run}`"
        save_note(
            study,
            f"# {config.recipe}, {method}\n\nRun {link}, {config.environment}, seed {config.seed}."
            f"\n\nTrials fine-tune the pretrained policy; the objective is **{metric}**, higher is "
            "better. The attribute `slot` numbers the planned trials.\n",
        )
