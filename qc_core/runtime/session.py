"""A model in onnxruntime whose inputs and output are bound to memory of the device.

Shapes: B batch.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from qc_core.errors import RunError
from qc_core.runtime.external_files import names_other_files
from qc_core.runtime.operators import require_known_operators
from qc_core.runtime.providers import PROVIDERS, choose_providers

# A policy needs some MB.
_MAX_MEMORY_BYTES = 4 << 30
# TF32 is accurate to three digits, and the policy's outputs are checked to five.
_OPTIONS = {"cuda": {"use_tf32": "0"}}


class BoundSession:
    """Runs a model with inputs [B, …] and one output [B, …], all float32.

    A call copies each input into bound memory, runs the model and copies the output. Memory is
    allocated only when the batch size changes. Calls from several threads run one at a time.

    Attributes:
        provider: the execution provider in use: `cpu`, `cuda` or `tensorrt`.
        inputs, outputs: shapes by name; a string is a dynamic size.
        metadata: the custom metadata of the model file.
    """

    def __init__(self, model: Path, threads: int, provider: str | None = None) -> None:
        """Open a model file.

        Args:
            threads: CPU threads of one inference.
            provider: `cpu`, `cuda` or `tensorrt`; None uses CUDA if available, else the CPU.

        Raises:
            UsageError: this installation lacks the provider.
            RunError: onnxruntime cannot open the file, or not with this provider; or the model
                refers to other files, which have no checksum.
        """
        # onnxruntime 1.32 sends telemetry with a device id from its import on.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.load_model_format", "ONNX")
        if hasattr(onnxruntime, "preload_dlls") and provider != "cpu":
            # CUDA's libraries may come from pip packages, which are on no search path. This call
            # prints missing libraries, and stdout belongs to the caller.
            with contextlib.redirect_stdout(sys.stderr):
                onnxruntime.preload_dlls()
        names = choose_providers(provider, onnxruntime.get_available_providers())
        content = model.read_bytes()
        try:
            other_files = names_other_files(content)
            if not other_files:
                require_known_operators(content)
        except ValueError as error:
            raise RunError(f"{model} cannot be opened: {error}") from error
        if other_files:
            raise RunError(f"{model} has weights in other files: a policy must be one file")
        _limit_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            with contextlib.redirect_stdout(sys.stderr):
                self._session = onnxruntime.InferenceSession(
                    content,
                    options,
                    providers=[(PROVIDERS[name], _OPTIONS.get(name, {})) for name in names],
                )
        except Exception as error:
            # onnxruntime's exceptions have no common base class.
            raise RunError(f"{model} cannot be opened: {_one_line(error)}") from error
        try:
            self._read_description()
        except Exception as error:
            # Names and metadata may be no text.
            raise RunError(f"{model} cannot be opened: {_one_line(error)}") from error
        started = self._session.get_providers()[0]
        self.provider = next(name for name, theirs in PROVIDERS.items() if theirs == started)
        if provider not in (None, self.provider):
            raise RunError(
                f"provider {provider!r} does not start here, onnxruntime offers {self.provider}: "
                "install its driver and libraries"
            )
        self._memory = "cpu" if self.provider == "cpu" else "cuda"
        self._bound_shapes: list[tuple[int, ...]] = []
        self._turn = threading.Lock()

    def _read_description(self) -> None:
        self.inputs = {entry.name: list(entry.shape) for entry in self._session.get_inputs()}
        self.outputs = {entry.name: list(entry.shape) for entry in self._session.get_outputs()}
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        output = self._session.get_outputs()[0]
        self._output, self._row_shape = output.name, output.shape[1:]

    def __call__(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Return a new array with the output for inputs by name (RunError: the model fails)."""
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
        # The next call overwrites the bound memory.
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


@cache
def _limit_memory() -> None:
    """Limit the memory of all models in this process; a model that needs more fails."""
    # Type checkers do not know these names.
    runtime: Any = importlib.import_module("onnxruntime")
    kind = runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    memory = runtime.OrtMemoryInfo("Cpu", kind, 0, runtime.OrtMemType.DEFAULT)
    settings = runtime.OrtArenaCfg({"max_mem": _MAX_MEMORY_BYTES})
    runtime.create_and_register_allocator(memory, settings)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
