"""The section about where the policy comes from, and what the run cost."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from qc_core.config.catalog import find_recipe
from qc_core.config.document import to_mapping
from qc_core.config.options import OptionText, texts_from_nested, to_argv
from qc_core.config.settings import Config
from qc_core.documents import plain
from qc_core.errors import UsageError
from qc_core.policy_format.contract import Contract
from qc_core.results.step_cost import StepCost
from qc_core.tuning.trials import COMPLETE, StudyHistory

COST_HEADER = ("step", "time", "rate", "hardware", "GPU energy")


def provenance_rows(
    contract: Contract, run_id: str, ended: str, costs: Sequence[StepCost]
) -> list[tuple[str, str]]:
    """Return what is needed to train the policy again, by name.

    Args:
        ended: date of the run, for people.
    """
    versions = ", ".join(f"{name} {version}" for name, version in contract.versions.items())
    provenance = contract.provenance
    rows = [
        ("run", run_id or "unknown"),
        ("date", ended),
        ("commit", contract.git_commit or "unknown"),
        ("image", provenance.image or "unknown"),
        ("versions", versions),
        ("dataset", contract.dataset_digest or "unknown"),
        ("weights", provenance.weights or "unknown"),
        ("trained from", provenance.parent or "new weights"),
    ]
    machines = sorted({cost.hardware for cost in costs})
    return [*rows, ("hardware", "; ".join(machines))] if machines else rows


def command_of(config: Config) -> str:
    """Return the `qc run` command that has this configuration, or '' for an unknown recipe."""
    try:
        recipe = find_recipe(config.recipe)
    except UsageError:
        return ""
    method = config.train.method
    own = _options(recipe.for_method(method))
    changed = {name: text for name, text in _options(config).items() if own.get(name) != text}
    if method != recipe.config.train.method:
        changed = {"train.method": method, **changed}
    return shlex.join(["qc", "run", config.recipe, *to_argv(changed)])


def _options(config: Config) -> dict[str, OptionText]:
    mapping = plain(to_mapping(config))
    return texts_from_nested({name: mapping[name] for name in mapping if name != "recipe"})


def cost_rows(
    costs: Sequence[StepCost], config: Config, study: StudyHistory
) -> list[tuple[str, ...]]:
    """Return one row per step."""
    rows = []
    for cost in costs:
        name = f"{cost.step} {cost.worker}".strip()
        if cost.attempts > 1:
            name += f", {cost.attempts} attempts"
        energy = "–" if cost.gpu_joules is None else f"{cost.gpu_joules / 3600:.2f} Wh"
        rows.append(
            (name, f"{cost.seconds:.0f} s", _rate(cost, config, study), cost.hardware, energy)
        )
    return rows


def _rate(cost: StepCost, config: Config, study: StudyHistory) -> str:
    if cost.step == "pretrain" and cost.seconds:
        return f"{config.train.offline_steps / cost.seconds:,.0f} updates/s"
    if cost.step == "tune" and cost.seconds:
        trials = [
            trial
            for trial in study.trials
            if trial.state == COMPLETE and str(trial.worker) == cost.worker and trial.seconds
        ]
        if trials:
            seconds = sum(trial.seconds for trial in trials)
            steps = len(trials) * config.train.online_steps
            return f"{steps / seconds:,.0f} environment steps/s per trial"
    return "–"
