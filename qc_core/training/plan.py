"""Checks before a run starts that all of its steps can work, and says which of them it skips."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from qc_core.config.methods import METHODS
from qc_core.config.settings import Config
from qc_core.envs.check import check_environment
from qc_core.envs.registry import has_simulator
from qc_core.errors import UsageError


class Plan(NamedTuple):
    """What a run will do.

    Attributes:
        config: without trials if there is no simulator to fine-tune in.
        notes: what a person should know before the run starts; one line each.
        reports_success: whether the environment reports success; None if it was not played.
    """

    config: Config
    notes: list[str]
    reports_success: bool | None = None


def plan_run(config: Config) -> Plan:
    """Try the environment, and decide which steps the run has.

    Raises:
        UsageError: the environment cannot be played, or the method learns only in a simulator and
            there is none.
    """
    environment = config.environment
    if has_simulator(environment):
        checked = check_environment(environment, config.control_interval)
        return Plan(config, checked.notes, checked.reports_success)
    if METHODS[config.train.method].online_only:
        offline = ", ".join(name for name, method in METHODS.items() if not method.online_only)
        raise UsageError(
            f"{config.train.method} learns only in a simulator, and {environment} has none: "
            f"choose --train.method {offline}"
        )
    return Plan(
        replace(config, tune=replace(config.tune, trials=0)),
        [
            f"plan: {environment} has no simulator, so the run trains offline and has no "
            "fine-tuning; it evaluates on held-out episodes, and a person approves the policy "
            "before it becomes champion"
        ],
    )
