"""The model card: what a stranger should know before a robot runs this."""

from __future__ import annotations

import json
from typing import Any

import yaml

from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL

_TEMPLATE = """# Chunk policy for {environment}

## What it does
Takes an observation of {observations} numbers in raw units and {noise} numbers of standard normal
noise, and returns a chunk of {horizon} actions of {actions} numbers, one per {interval:g} s. Play
{execution} of them, then ask again. `policy.json` names every number, its order and its bounds.

## How it was trained
Method `{method}` (Q-learning with action chunking, arXiv 2507.07969), recipe `{recipe}`, seed
{seed}: {offline:,} updates on the data below, {begun}then {fine_tuning}.

## On what data
{data}

## How well it does
{figures}

## Limits
- **Not a safety device.** It knows nothing of forces, people or objects that were not there, and
  it does not say when it is lost. Keep the robot's own limits, and a person at the emergency stop.
- **{tried}**
- **One environment.** It knows only `{environment}`: its robot, its scene, its task, its starts.
- **What the data show.** {range} Beyond what the data show, its actions mean nothing, though they
  stay within their bounds.
- **Its own pace.** It has learned with {interval:g} s per action, and means something else at
  another rate. While it plays {execution} actions it does not look: it answers to what happens up
  to {blind:g} s later.

## Where it comes from
Code commit `{commit}`, container image `{image}`. `policy.json` has the whole configuration and
the versions of all that took part.
Check the files with `sha256sum --check SHA256SUMS`; `golden.npz` holds inputs with the outputs they
must give, to at most 1e-5.
"""


def model_card(contract: dict[str, Any]) -> str:
    """Markdown for people, from the contract; in front the fields that model hubs read."""
    online, tuning, evaluation = (contract[k] for k in ("online-steps", "tuning", "evaluation"))
    environment, interval = contract["environment"], contract["control-interval-seconds"]
    parent = contract["provenance"]["parent"]
    fine_tuning = "no fine-tuning"
    if online:
        fine_tuning = f"{online:,} environment steps of fine-tuning in the simulator"
    if tuning is not None:
        fine_tuning += f", the best of up to {tuning['trials']} tuning trials"
    simulated = online or evaluation is not None
    tried = (
        "Simulator only. No run on a real robot is behind any number here."
        if simulated
        else "Never tried. It was played neither in a simulator nor on a robot."
    )
    text = _TEMPLATE.format(
        environment=environment,
        method=contract["method"],
        recipe=contract["recipe"],
        seed=contract["seed"],
        offline=contract["offline-steps"],
        begun=f"begun with the weights of `{parent}`, " if parent else "",
        fine_tuning=fine_tuning,
        observations=len(contract["observation"]["names"]),
        actions=len(contract["action"]["names"]),
        noise=" × ".join(map(str, contract["noise"]["shape"])),
        horizon=contract["horizon"],
        execution=contract["execution-length"],
        interval=interval,
        blind=contract["execution-length"] * interval,
        data=_data(contract),
        figures=_figures(contract),
        tried=tried,
        range=_range(contract),
        commit=contract["git-commit"],
        image=contract["provenance"]["image"],
    )
    header = yaml.safe_dump(_header(contract), sort_keys=False, allow_unicode=True)
    return f"---\n{header}---\n\n{text}"


def _data(contract: dict[str, Any]) -> str:
    size = "Of unknown size"
    if contract["transitions"] is not None:
        size = f"{contract['transitions']:,} transitions in {contract['episodes']:,} episodes"
    source = contract["provenance"]["dataset-source"]
    told = "unknown" if source is None else f"`{json.dumps(source, sort_keys=True)}`"
    return f"{size}, digest `{contract['dataset-digest']}`. Source: {told}."


def _figures(contract: dict[str, Any]) -> str:
    evaluation = contract["evaluation"]
    if evaluation is None:
        return "Not evaluated."
    told = evaluation["success-told"]
    form, measured = ("{:.0%}", "success") if told else ("{:.1f}", "return")
    value, low, high = (form.format(evaluation[measured][key]) for key in ("value", "low", "high"))
    steps = evaluation["steps"]
    return (
        f"{measured.capitalize()} {value} (95% interval {low} to {high}) over "
        f"{evaluation['episodes']} episodes in the simulator that training never saw (seeds from "
        f"{evaluation['first-seed']}), drawn from the starts that it was trained on. "
    ) + (
        f"{steps['value']:.0f} steps on average ({steps['low']:.0f} to {steps['high']:.0f}), a "
        f"failure counting {contract['episode-limit']}."
        if told
        else f"The environment {NO_SUCCESS_SIGNAL}."
    )


def _range(contract: dict[str, Any]) -> str:
    if contract["observation"]["range-in-data"] is None:
        return "How far its observations went was not noted."
    return (
        "`policy.json` has the lowest and the highest value of each observation in the data "
        "(`observation`, `range-in-data`)."
    )


def _header(contract: dict[str, Any]) -> dict[str, Any]:
    """The metadata of Hugging Face's model cards."""
    header: dict[str, Any] = {
        "library_name": "onnx",
        "pipeline_tag": "robotics",
        "tags": ["robotics", "reinforcement-learning", "q-chunking", contract["method"]],
    }
    evaluation, environment = contract["evaluation"], contract["environment"]
    if evaluation is not None:
        told = evaluation["success-told"]
        kind, measured = ("success_rate", "success") if told else ("mean_reward", "return")
        result = {
            "task": {"type": "robotics", "name": environment},
            "dataset": {"type": environment, "name": environment},
            "metrics": [
                {
                    "type": kind,
                    "name": f"{measured} over {evaluation['episodes']} episodes",
                    "value": evaluation[measured]["value"],
                }
            ],
        }
        header["model-index"] = [
            {"name": f"{contract['method']} for {environment}", "results": [result]}
        ]
    return header
