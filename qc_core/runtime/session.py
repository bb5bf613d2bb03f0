"""A model in onnxruntime, its inputs and output bound to memory where it computes.

Shapes: B batch.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from qc_core.errors import WorkFailed

# What computes, and what its memory is called: the first that this machine's onnxruntime has.
_DEVICES = {"CUDAExecutionProvider": "cuda", "CPUExecutionProvider": "cpu"}
# TF32 has three digits, and the policy's outputs are checked to five.
_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}


class BoundSession:
    """Inputs [B, …] in, one output [B, …] out, all float32.

    A call is a copy of each input into bound memory, the inference, and a copy of the output;
    nothing is allocated until a batch of another size comes. Calls from several threads take
    turns.

    Attributes:
        device: where it computes, `cuda` or `cpu`.
    """

    def __init__(self, model: Path, threads: int) -> None:
        """Open a model file (WorkFailed if onnxruntime cannot), for so many CPU threads."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        available = onnxruntime.get_available_providers()
        providers = [(name, _OPTIONS.get(name, {})) for name in _DEVICES if name in available]
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=providers)
        except Exception as error:
            # onnxruntime's own exceptions have no common class.
            reason = " ".join(str(error).split())
            raise WorkFailed(f"{model} cannot be opened: {reason}") from error
        self.device = _DEVICES[self._session.get_providers()[0]]
        output = self._session.get_outputs()[0]
        self._output, self._row_shape = output.name, output.shape[1:]
        self._bound_shapes: list[tuple[int, ...]] = []
        self._turn = threading.Lock()

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """The output for inputs by name; it is the caller's own."""
        shapes = [value.shape for value in inputs.values()]
        with self._turn:
            if shapes != self._bound_shapes:
                self._bind(inputs)
                self._bound_shapes = shapes
            for name, value in inputs.items():
                # Older versions copy bytes as they lie, strides or not.
                self._bound[name].update_inplace(np.ascontiguousarray(value))
            self._session.run_with_iobinding(self._binding)
            # On a CPU `numpy` is the bound memory itself, which the next call overwrites.
            return self._bound[self._output].numpy().copy()

    def _bind(self, inputs: dict[str, np.ndarray]) -> None:
        from onnxruntime import OrtValue

        batch = len(next(iter(inputs.values())))
        shapes = {name: value.shape for name, value in inputs.items()}
        shapes[self._output] = (batch, *self._row_shape)
        self._bound = {
            name: OrtValue.ortvalue_from_shape_and_type(shape, np.float32, self.device)
            for name, shape in shapes.items()
        }
        self._binding = self._session.io_binding()
        for name in inputs:
            self._binding.bind_ortvalue_input(name, self._bound[name])
        self._binding.bind_ortvalue_output(self._output, self._bound[self._output])
