"""Begin a training with the networks of a published policy."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from qc_core.agents.agent import Agent
from qc_core.config.settings import Config
from qc_core.errors import RunError, UsageError
from qc_core.log import log
from qc_core.policy_format.environment_spec import EnvironmentSpec
from qc_core.registry.parent import fetch_checkpoint, parent_of, weights_of_parent
from qc_core.training.checkpoint import (
    load_agent,
    read_info,
    require_same_networks,
    weights_digest,
)

# What must be the same of the parent's data and of these.
_SAME = (
    "id",
    "observation_names",
    "action_names",
    "action_low",
    "action_high",
    "control_interval",
)


def parents_agent(config: Config, spec: EnvironmentSpec, device: torch.device) -> Agent | None:
    """The parent's agent, to be trained as this configuration says; None begins anew.

    It keeps the parent's scaling of observations, with which its networks were trained, its target
    critics, and Adam's moments: a fresh Adam would take its first steps at full size whatever the
    gradients are, and undo what is there.

    Raises:
        UsageError: the parent has other networks, or was trained for other sizes, names or bounds, or
            another control interval.
        RunError: it is gone, or altered.
    """
    parent = parent_of(config)
    if parent is None:
        return None
    with tempfile.TemporaryDirectory(prefix="qc-parent-") as scratch:
        folder = Path(scratch) / "checkpoint"
        fetch_checkpoint(config, folder)
        if weights_digest(folder) != weights_of_parent(config):
            raise RunError(f"the checkpoint of {parent} is not that of its policy: it is altered")
        info = read_info(folder)
        anew = "give its settings, or leave out --train.warm-start"
        require_same_networks(info.config.train, config.train, parent, anew)
        for field in _SAME:
            before, now = getattr(info.spec, field), getattr(spec, field)
            if before != now:
                what = "environment" if field == "id" else field.replace("_", " ")
                raise UsageError(f"{parent} has the {what} {before}, the data {now}: {anew}")
        agent = load_agent(folder, device, config.train)
    log.info(f"beginning with the weights of {parent}")
    return agent
