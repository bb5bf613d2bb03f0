"""Compares a version with the champion on recorded episodes, where none can be played."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qc_core.errors import UsageError
from qc_core.evaluation.held_out import Windows, held_out_windows, log_likelihoods
from qc_core.policy_format.contract import Contract
from qc_core.policy_format.environment_spec import is_same_environment
from qc_core.policy_format.policy_folder import read_contract
from qc_core.registry.gate_record import GateRecord
from qc_core.registry.registry import CHAMPION, Registry
from qc_core.runtime.pulled_policy import PulledPolicy
from qc_core.scratch import scratch_folder
from qc_core.statistics import mean

_RULE = "no simulator: a person decides with qc promote NAME:VERSION --approve"
_LABEL = "offline figures only, no episode was played"


def compare_offline(
    registry: Registry, folder: Path, name: str, version: str, held_out: Path | None
) -> GateRecord:
    """Return a record that leaves the decision to a person, with the figures for it.

    The champion and the version are compared on the same held-out episodes.

    Args:
        folder: the policy folder that was published as `version`.
        held_out: held-out part of the dataset; None compares nothing.

    Raises:
        UsageError: the champion has another environment, or there are no held-out episodes.
    """
    contract = read_contract(folder)
    incumbent = next((v for v in registry.alias_history(name, CHAMPION) if v != version), None)
    reason = "no held-out episodes were given"
    if held_out is not None:
        windows = held_out_windows(held_out, contract.chunk_length)
        own = _fit(folder, contract, windows)
        reason = f"log-likelihood of held-out actions {_text(own)} per number"
        if incumbent is not None:
            champion = _fit_of_champion(registry, name, incumbent, contract, windows)
            reason += f", {_text(champion)} of champion {incumbent}, gain {_text(own - champion)}"
        reason += f", over {windows.episodes} episodes"
    return GateRecord(
        champion=False,
        champion_before=incumbent,
        rule=_RULE,
        decision="undecided",
        reason=(f"{_LABEL}: {reason}; approve it with qc promote {name}:{version} --approve"),
        environment=contract.environment,
        episode_limit=contract.episode_limit,
        episodes=0,
        max_episodes=0,
        reports_success=False,
        results={},
    )


def _fit_of_champion(
    registry: Registry, name: str, incumbent: str, contract: Contract, windows: Windows
) -> np.ndarray:
    with scratch_folder("champion") as scratch:
        folder = scratch / "champion"
        registry.pull(f"{name}:{incumbent}", folder)
        other = read_contract(folder)
        sizes = [(c.observation_size, c.action_size, c.chunk_length) for c in (other, contract)]
        if not is_same_environment(other.environment, contract.environment) or len({*sizes}) > 1:
            raise UsageError(
                f"the champion of {name!r} has another environment or chunk length: "
                f"{other.environment}, {other.chunk_length} actions per chunk; give --publish.name "
                "another name"
            )
        return _fit(folder, other, windows)


def _fit(folder: Path, contract: Contract, windows: Windows) -> np.ndarray:
    """Return the mean log-likelihood per number of each held-out episode."""
    policy = PulledPolicy(folder)()
    return log_likelihoods(policy, windows, contract.action.low, contract.action.high)


def _text(values: np.ndarray) -> str:
    return mean(values).text("{:.2f}", "95% interval ")
