"""Converts a network to one ONNX file without any information about this machine."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import redirect_stdout

import onnx
import torch
from onnxscript import optimizer
from torch import nn

# onnxruntime 1.20 (November 2024) supports opsets up to 21 and IR versions up to 10. torch writes
# IR version 10.
OPSET = 20
_PRODUCER = "q-chunking"


def to_onnx(
    module: nn.Module, observation_size: int, noise_shape: tuple[int, ...]
) -> onnx.ModelProto:
    """Trace a module `(observation [B, O], noise [B, …]) → action_chunk [B, H, A]`.

    The batch size is dynamic. Stack traces that torch stores in the graph are removed.
    """
    # The example has a batch of 2, because torch treats a size of 1 as a constant.
    example = (torch.zeros(2, observation_size), torch.zeros(2, *noise_shape))
    batch = {0: torch.export.Dim("batch", min=1)}
    shapes = {"observation": batch, "noise": batch}
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            # torch.onnx would silently fix the batch size if the trace cannot vary it; this call
            # raises instead.
            traced = torch.export.export(
                module.eval(),
                example,
                dynamic_shapes=shapes,
                strict=False,
            )
            program = torch.onnx.export(
                traced,
                dynamo=True,
                opset_version=OPSET,
                input_names=["observation", "noise"],
                output_names=["action_chunk"],
                dynamic_shapes=shapes,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    return _without_origin(_folded(program.model_proto))


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute everything that depends only on weights, at any size."""
    size = model.ByteSize()
    return optimizer.optimize(model, input_size_limit=size, output_size_limit=size)


def _without_origin(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove names, comments and metadata that tell where the model was made."""
    model.producer_name, model.producer_version = _PRODUCER, ""
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = "chunk_policy", ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    return model
