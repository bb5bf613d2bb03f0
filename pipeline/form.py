"""Drop-downs of the KFP form: inputs that take one of a few values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.struct_pb2 import Value


def offer_choices(pipeline: Any, choices: Mapping[str, Sequence[str]]) -> None:
    """Let inputs of a pipeline be picked from a list; the compiler has no way to say so.

    Args:
        choices: values by the name of a string input.
    """
    inputs = pipeline.pipeline_spec.root.input_definitions.parameters
    for name, values in choices.items():
        inputs[name].literals.extend(Value(string_value=value) for value in values)
