"""Drop-down lists of the KFP form, for inputs that take one of a few values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.struct_pb2 import Value


def offer_choices(pipeline: Any, choices: Mapping[str, Sequence[str]]) -> None:
    """Give inputs of a pipeline a list of values; KFP's compiler has no option for it.

    Args:
        choices: allowed values by the name of a string input.
    """
    inputs = pipeline.pipeline_spec.root.input_definitions.parameters
    for name, values in choices.items():
        inputs[name].literals.extend(Value(string_value=value) for value in values)
