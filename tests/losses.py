"""The losses of an update by name, with the terms of one loss added up."""

from typing import Any

from qc_core.agents.agent import Agent, Loss
from qc_core.data.replay.windows import Windows


def losses_by_name(agent: Agent, windows: Windows, noise: Any) -> dict[str, Loss]:
    losses: dict[str, Loss] = {}
    for function in agent.losses(windows, noise):
        term = function()
        loss = losses.get(term.name)
        losses[term.name] = (
            term
            if loss is None
            else Loss(
                term.name,
                loss.value + term.value,
                [*loss.parameters, *term.parameters],
                {**loss.figures, **term.figures},
            )
        )
    return losses
