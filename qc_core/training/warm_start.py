"""Warm start: begins a training with the networks of a published policy."""

from __future__ import annotations

import torch

from qc_core.agents.agent import Agent
from qc_core.config.settings import Config
from qc_core.errors import RunError, UsageError
from qc_core.log import log
from qc_core.policy_format.environment_spec import EnvironmentSpec, is_same_environment
from qc_core.registry.parent import fetch_checkpoint, parent_of, weights_of_parent
from qc_core.scratch import scratch_folder
from qc_core.training.checkpoint import read_checkpoint, require_same_networks, weights_digest
from qc_core.training.saved_agent import load_agent

# Fields of the environment that must be the same for the parent's data and the new data.
_SAME_FIELDS = (
    "id",
    "observation_names",
    "action_names",
    "action_low",
    "action_high",
    "control_interval",
)


def parents_agent(config: Config, spec: EnvironmentSpec, device: torch.device) -> Agent | None:
    """Return the parent's agent with the settings of this configuration; None without a parent.

    The agent has the parent's observation normalisation, with which its networks were trained, its
    target critics and its Adam moments. Without the moments, the first steps of Adam would have
    full size whatever the gradients are, and would destroy what the parent has learned.

    Raises:
        UsageError: the parent has other networks, or was trained for other sizes, names, bounds or
            another control interval.
        RunError: the parent is deleted or altered.
    """
    parent = parent_of(config)
    if parent is None:
        return None
    with scratch_folder("parent") as scratch:
        folder = scratch / "checkpoint"
        fetch_checkpoint(config, folder)
        if weights_digest(folder) != weights_of_parent(config):
            raise RunError(f"the checkpoint of {parent} is altered: its policy has other weights")
        saved = read_checkpoint(folder)
        remedy = "give its settings, or leave out --train.warm-start"
        require_same_networks(saved.config.train, config.train, parent, remedy)
        for field in _SAME_FIELDS:
            before, now = getattr(saved.spec, field), getattr(spec, field)
            same = is_same_environment(before, now) if field == "id" else before == now
            if not same:
                what = "environment" if field == "id" else field.replace("_", " ")
                raise UsageError(f"{parent} has the {what} {before}, the data {now}: {remedy}")
        agent = load_agent(folder, device, config.train)
    log.info(f"training starts from the weights of {parent}")
    return agent
