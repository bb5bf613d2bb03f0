"""A model in onnxruntime, its inputs and output bound to memory where it computes.

Shapes: B batch.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from pathlib import Path

import numpy as np

from qc_core.errors import RunError
from qc_core.runtime.providers import PROVIDERS, choose_providers

# TF32 has three digits, and the policy's outputs are checked to five.
_OPTIONS = {"cuda": {"use_tf32": "0"}}
# A protobuf text that is `location`: without one no tensor can lie in another file. The tag before
# it may be any number that readers cut to its last 32 bits. The length is 8, or longer than it need
# be: then its last byte follows one with the high bit, and is below 8. Looking back is ten times as
# fast. `EPContext` is a node that names a provider's own file.
_OTHER_FILES = re.compile(
    rb"location(?<=(.\x08|[\x80-\xff][\x00-\x07])location)|EPContext", re.DOTALL
)


class BoundSession:
    """Inputs [B, …] in, one output [B, …] out, all float32.

    A call is a copy of each input into bound memory, the inference, and a copy of the output;
    nothing is allocated until a batch of another size comes. Calls from several threads take
    turns.

    Attributes:
        provider: what computes: `cpu`, `cuda` or `tensorrt`.
        inputs, outputs: shapes by name; a string is a size that may vary.
        metadata: what the model file says of itself.
    """

    def __init__(self, model: Path, threads: int, provider: str | None = None) -> None:
        """Open a model file for so many CPU threads.

        Raises:
            UsageError: a provider that this installation lacks.
            RunError: onnxruntime cannot open the file, or not with the provider asked for; or
                it refers to other files, of which no checksum tells.
        """
        # onnxruntime 1.32 would keep a device id and tell its maker of models, from its import on.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.load_model_format", "ONNX")
        if hasattr(onnxruntime, "preload_dlls") and provider != "cpu":
            # CUDA's libraries may be those of pip's packages, which no search path names. What it
            # does not find, it prints; but stdout is the caller's.
            with contextlib.redirect_stdout(sys.stderr):
                onnxruntime.preload_dlls()
        names = choose_providers(provider, onnxruntime.get_available_providers())
        content = model.read_bytes()
        if _OTHER_FILES.search(content):
            raise RunError(f"{model} keeps weights in other files: a policy is one file")
        try:
            with contextlib.redirect_stdout(sys.stderr):
                self._session = onnxruntime.InferenceSession(
                    content,
                    options,
                    providers=[(PROVIDERS[name], _OPTIONS.get(name, {})) for name in names],
                )
        except Exception as error:
            # onnxruntime's own exceptions have no common class.
            raise RunError(f"{model} cannot be opened: {_one_line(error)}") from error
        started = self._session.get_providers()[0]
        self.provider = next(name for name, theirs in PROVIDERS.items() if theirs == started)
        if provider not in (None, self.provider):
            raise RunError(
                f"provider {provider!r} does not start here, onnxruntime offers {self.provider}: "
                "its driver or libraries are missing"
            )
        self.inputs = {entry.name: list(entry.shape) for entry in self._session.get_inputs()}
        self.outputs = {entry.name: list(entry.shape) for entry in self._session.get_outputs()}
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        output = self._session.get_outputs()[0]
        self._output, self._row_shape = output.name, output.shape[1:]
        self._memory = "cpu" if self.provider == "cpu" else "cuda"
        self._bound_shapes: list[tuple[int, ...]] = []
        self._turn = threading.Lock()

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """The output for inputs by name; it is the caller's own (RunError: it cannot)."""
        with self._turn:
            try:
                return self._run(inputs)
            except Exception as error:
                self._bound_shapes = []
                raise RunError(f"the model cannot be run: {_one_line(error)}") from error

    def _run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        shapes = [value.shape for value in inputs.values()]
        if shapes != self._bound_shapes:
            self._bind(inputs)
            self._bound_shapes = shapes
        for name, value in inputs.items():
            self._arrays[name][...] = value
        if self._memory != "cpu":
            for name in inputs:
                self._bound[name].update_inplace(self._arrays[name])
        self._session.run_with_iobinding(self._binding)
        if self._memory != "cpu":
            return self._bound[self._output].numpy()
        # The next call overwrites it.
        return self._arrays[self._output].copy()

    def _bind(self, inputs: dict[str, np.ndarray]) -> None:
        from onnxruntime import OrtValue

        batch = len(next(iter(inputs.values())))
        shapes = {name: value.shape for name, value in inputs.items()}
        shapes[self._output] = (batch, *self._row_shape)
        self._arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        # On a CPU the arrays are the bound memory itself.
        self._bound = {
            name: OrtValue.ortvalue_from_numpy(array, self._memory)
            for name, array in self._arrays.items()
        }
        self._binding = self._session.io_binding()
        for name in inputs:
            self._binding.bind_ortvalue_input(name, self._bound[name])
        self._binding.bind_ortvalue_output(self._output, self._bound[self._output])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
