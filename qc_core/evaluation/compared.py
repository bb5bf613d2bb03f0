"""The policies of a run that are compared with each other."""

from __future__ import annotations

from pathlib import Path

from qc_core.config.methods import METHODS
from qc_core.evaluation.result import BEHAVIOUR_CLONING, OFFLINE, ONLINE, UNTRAINED
from qc_core.training.checkpoint import weights_digest
from qc_core.training.checkpoint_policy import CheckpointPolicy


def compared_policies(
    method: str, offline: Path, online: Path, horizon: int
) -> dict[str, CheckpointPolicy]:
    """Return the policies to compare by name, each once, in order of training.

    Args:
        offline, online: checkpoints before and after fine-tuning; they may be the same.
        horizon: actions of a chunk to execute; 0 executes all.
    """
    policies: dict[str, CheckpointPolicy] = {}
    if METHODS[method].settings.has_bc_policy:
        policies[BEHAVIOUR_CLONING] = CheckpointPolicy(offline, "bc", horizon)
    before = UNTRAINED if METHODS[method].online_only else OFFLINE
    policies[before] = CheckpointPolicy(offline, "learned", horizon)
    if weights_digest(online) != weights_digest(offline):
        policies[ONLINE] = CheckpointPolicy(online, "learned", horizon)
    return policies
