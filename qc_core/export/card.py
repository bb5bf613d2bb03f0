"""The model card: what a stranger should know before a robot runs this."""

from __future__ import annotations

from typing import Any

_TEMPLATE = """# Chunk policy for {environment}

Trained with {method} (Q-learning with action chunking, arXiv 2507.07969): {offline:,} offline
updates and {online:,} environment steps of fine-tuning, recipe `{recipe}`, seed {seed}.

## What it does
Takes an observation of {observations} numbers in raw units and {noise} of standard normal noise,
returns a chunk of {horizon} actions of {actions} numbers, one per {interval:g} s. Play
{execution} of them, then ask again. `policy.json` names every number and its order.

## How well
{figures}

## Limits
It has seen only {environment}: the same robot, scene and start region. It knows nothing of
forces, people or objects that were not there. Outside that, its actions mean nothing, though
they stay within their bounds.

## Where it comes from
Data set digest `{digest}`, code commit `{commit}`, container image `{image}`. `policy.json` has
the whole configuration and the source of the data.
Check it with `sha256sum --check SHA256SUMS`; `golden.npz` holds inputs with the outputs they
must give.
"""


def model_card(contract: dict[str, Any]) -> str:
    """Markdown for people, from the contract."""
    evaluation = contract["evaluation"]
    if evaluation is None:
        figures = "Not evaluated."
    else:
        success, steps = evaluation["success"], evaluation["steps"]
        figures = (
            f"Success {success['value']:.0%} (95% interval {success['low']:.0%} to "
            f"{success['high']:.0%}) over {evaluation['episodes']} episodes that training never "
            f"saw; {steps['value']:.0f} steps on average, a failure counting "
            f"{contract['episode-limit']}."
        )
    return _TEMPLATE.format(
        environment=contract["environment"],
        method=contract["method"],
        offline=contract["offline-steps"],
        online=contract["online-steps"],
        recipe=contract["recipe"],
        seed=contract["seed"],
        observations=len(contract["observation"]["names"]),
        actions=len(contract["action"]["names"]),
        noise=" × ".join(map(str, contract["noise"]["shape"])) + " numbers",
        horizon=contract["horizon"],
        execution=contract["execution-length"],
        interval=contract["control-interval-seconds"],
        figures=figures,
        digest=contract["dataset-digest"],
        commit=contract["git-commit"],
        image=contract["provenance"]["image"],
    )
