"""The model card: what users must know before a robot runs the policy."""

from __future__ import annotations

import json
from typing import Any

import yaml

from qc_core import documents
from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL
from qc_core.policy_format.contract import Contract, EvaluationSummary
from qc_core.statistics import Estimate

_TEMPLATE = """# Chunk policy for {environment}

## What it does
Takes an observation of {observations} numbers in raw units and {noise} numbers of standard normal
noise, and returns a chunk of {chunk_length} actions of {actions} numbers, one per {interval:g} s.
Execute {execution} of them, then compute the next chunk. `policy.json` lists names, order and
bounds of all numbers.

## How it was trained
Method `{method}` (Q-learning with action chunking, arXiv 2507.07969), recipe `{recipe}`, seed
{seed}: {offline:,} updates on the data below, {start}then {fine_tuning}.

## Training data
{data}

## Results
{figures}

## Limits
- **Not a safety device.** It knows nothing about forces, people or objects that are not in the
  data, and it does not report when it fails. Keep the limits of the robot active, and a person at
  the emergency stop.
- **{tried}**
- **One environment.** It was trained only for `{environment}`: one robot, one scene, one task and
  its initial states.
- **Range of the data.** {range} Outside the range of the data its actions have no meaning, but they
  stay within their bounds.
- **One control rate.** It was trained with {interval:g} s per action and is not valid at another
  rate. It ignores observations while it executes {execution} actions, so it reacts to an event up
  to {blind:g} s later.

## Provenance
Code commit `{commit}`, container image `{image}`. `policy.json` contains the complete configuration
and the versions of all packages.
Check the files with `sha256sum --check SHA256SUMS`. `golden.npz` contains inputs and the expected
outputs, with a tolerance of 1e-5.
"""


def model_card(contract: Contract) -> str:
    """Return the model card in Markdown, starting with the fields that model hubs read."""
    evaluation, interval = contract.evaluation, contract.control_interval_seconds
    parent = contract.provenance.parent
    simulated = contract.online_steps or evaluation is not None
    text = _TEMPLATE.format(
        environment=contract.environment,
        method=contract.method,
        recipe=contract.recipe,
        seed=contract.seed,
        offline=contract.offline_steps,
        start=f"starting from the weights of `{parent}`, " if parent else "",
        fine_tuning=_fine_tuning(contract),
        observations=contract.observation_size,
        actions=contract.action_size,
        noise=" × ".join(map(str, contract.noise.shape)),
        chunk_length=contract.chunk_length,
        execution=contract.execution_horizon,
        interval=interval,
        blind=contract.execution_horizon * interval,
        data=_data(contract),
        figures=_figures(contract),
        tried=(
            "Simulator only. No number here was measured on a real robot."
            if simulated
            else "Never tried. It was run neither in a simulator nor on a robot."
        ),
        range=_range(contract),
        commit=contract.git_commit,
        image=contract.provenance.image,
    )
    header = yaml.safe_dump(_header(contract), sort_keys=False, allow_unicode=True)
    return f"---\n{header}---\n\n{text}"


def _fine_tuning(contract: Contract) -> str:
    text = "no fine-tuning"
    if contract.online_steps:
        text = f"{contract.online_steps:,} environment steps of fine-tuning in the simulator"
    if contract.tuning is not None:
        text += f", the best of up to {contract.tuning.trials} tuning trials"
    return text


def _data(contract: Contract) -> str:
    size = "Of unknown size"
    if contract.transitions is not None:
        size = f"{contract.transitions:,} transitions in {contract.episodes:,} episodes"
    source = contract.provenance.dataset_source
    text = "unknown"
    if source is not None:
        text = f"`{json.dumps(documents.to_json(source), sort_keys=True)}`"
    return f"{size}, digest `{contract.dataset_digest}`. Source: {text}."


def _figures(contract: Contract) -> str:
    evaluation, held_out = contract.evaluation, contract.held_out
    if evaluation is None and held_out is not None:
        return (
            f"Offline figures only: log-likelihood of the recorded actions {held_out.fit} per "
            f"number, over {held_out.episodes} recorded episodes that are not in the training "
            "data. They say how well the policy imitates the data, and nothing about how it acts."
        )
    if evaluation is None:
        return "Not evaluated."
    measured, estimate = _main_measure(evaluation)
    form = "{:.0%}" if evaluation.reports_success else "{:.1f}"
    text = (
        f"{measured.capitalize()} {estimate.text(form, '95% interval ')} over "
        f"{evaluation.episodes} episodes in the simulator that are not in the training data (seeds "
        f"from {evaluation.first_seed}), with the same distribution of initial states. "
    )
    if not evaluation.reports_success:
        return text + f"The environment {NO_SUCCESS_SIGNAL}."
    steps = evaluation.steps
    return text + (
        f"{steps.text('{:.0f}')} steps on average, where a failure counts {contract.episode_limit}."
    )


def _main_measure(evaluation: EvaluationSummary) -> tuple[str, Estimate]:
    """Return success, or the return if the environment does not report success."""
    if evaluation.reports_success:
        return "success", evaluation.success
    return "return", evaluation.episode_return


def _range(contract: Contract) -> str:
    if contract.observation.range_in_data is None:
        return "The range of its observations is unknown."
    return (
        "`policy.json` has the lowest and the highest value of each observation in the data "
        "(`observation`, `range-in-data`)."
    )


def _header(contract: Contract) -> dict[str, Any]:
    """Return the metadata of Hugging Face's model cards."""
    header: dict[str, Any] = {
        "library_name": "onnx",
        "pipeline_tag": "robotics",
        "tags": ["robotics", "reinforcement-learning", "q-chunking", contract.method],
    }
    evaluation, environment = contract.evaluation, contract.environment
    if evaluation is not None:
        measured, estimate = _main_measure(evaluation)
        result = {
            "task": {"type": "robotics", "name": environment},
            "dataset": {"type": environment, "name": environment},
            "metrics": [
                {
                    "type": "success_rate" if evaluation.reports_success else "mean_reward",
                    "name": f"{measured} over {evaluation.episodes} episodes",
                    "value": estimate.value,
                }
            ],
        }
        header["model-index"] = [
            {"name": f"{contract.method} for {environment}", "results": [result]}
        ]
    return header
