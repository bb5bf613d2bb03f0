"""The KFP form: what each input of the pipeline means, and which values it offers.

KFP sorts the inputs by name and shows no descriptions. Names therefore begin with their group, and
the description of the pipeline is a table of all inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.struct_pb2 import Value

from qc_core.config.catalog import recipe_names
from qc_core.config.methods import METHODS
from qc_core.config.resolve import AS_THE_RECIPE


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the form.

    Attributes:
        text: what it sets.
        example: a value as a person types it.
        choices: the values of its drop-down list; empty if a person types the value.
    """

    text: str
    example: str
    choices: tuple[str, ...] = ()


INPUTS = {
    "continue_run": Input(
        "id of an earlier run with the same options, whose finished results are taken over",
        "d2c1b34e-7a90-4d83-9a53-0b6f5a1b8f11",
    ),
    "recipe": Input("named configuration to start from", "cube-double", tuple(recipe_names())),
    "recipe_method": Input(
        "training method, with the values that the recipe has for it",
        "qc-fql",
        (AS_THE_RECIPE, *METHODS),
    ),
    "recipe_overrides": Input(
        "options that change the recipe; `qc run --help` lists them",
        "--seed 1 --train.offline-steps 5000",
    ),
    "resources_cpus": Input("CPU cores of each training step", "4"),
    "resources_gpus": Input(
        "GPUs of each training step, which uses at most one; 0 trains on the CPU", "1", ("0", "1")
    ),
    "resources_memory": Input("memory of each training step", "16Gi"),
    "resources_node_selector": Input(
        "labels of the nodes to train on, a JSON object", '{"pool": "gpu"}'
    ),
}

DESCRIPTION = "\n".join(
    (
        "Trains a chunk policy on robot episodes, evaluates and publishes it.",
        "",
        "Service account: `q-chunking-runner`. Inputs:",
        "",
        "| input | what it sets | example |",
        "|---|---|---|",
        *(f"| `{name}` | {entry.text} | `{entry.example}` |" for name, entry in INPUTS.items()),
    )
)


def fill_form(pipeline: Any) -> None:
    """Give the inputs of a pipeline their descriptions and choices.

    KFP's compiler has no option for choices. It reads descriptions from a docstring, where the
    table of the pipeline's description would repeat them.
    """
    inputs = pipeline.pipeline_spec.root.input_definitions.parameters
    for name, entry in INPUTS.items():
        inputs[name].description = f"{entry.text}, such as {entry.example}"
        inputs[name].literals.extend(Value(string_value=value) for value in entry.choices)
