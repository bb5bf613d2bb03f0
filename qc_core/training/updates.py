"""The same update over and over, as fast as the device repeats it."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from typing import Protocol

import torch

from qc_core.agents.agent import Info

Update = Callable[[], Info]

# Updates in one recording: launching one costs the host as much as a few kernels.
PER_RECORDING = 16
# Before anything is recorded the optimiser makes its state and the libraries their workspaces.
_UNRECORDED = 3


class Recording(Protocol):
    """Work on the device that can be repeated as it was."""

    def replay(self) -> None: ...


class Updates(Protocol):
    """Repeats an update that draws its own data and noise.

    Attributes:
        stride: the number of updates that is repeated at the least cost each.
        records: whether data must stay in its place from one call to the next.
    """

    stride: int
    records: bool

    def run(self, count: int) -> Info:
        """Do `count` updates, at least one, and return the figures of the last.

        The figures may be overwritten by the next call.
        """
        ...


def repeat(update: Update, generator: torch.Generator) -> Updates:
    """How an update is repeated on the device of its generator.

    Args:
        update: everything that it reads and writes between two calls must stay where it is:
            parameters, optimiser state, data, and what else changes meanwhile.
        generator: the one that the update draws from.
    """
    if generator.device.type == "cuda":
        return RecordedUpdates(update, generator)
    return CalledUpdates(update)


class CalledUpdates:
    """One call after the other."""

    stride, records = 1, False

    def __init__(self, update: Update) -> None:
        self._update = update

    def run(self, count: int) -> Info:
        info: Info = {}
        for _ in range(count):
            info = self._update()
        return info


class RecordedUpdates:
    """CUDA graphs of whole updates, several to a graph, from sampling to the target critic."""

    stride, records = PER_RECORDING, True

    def __init__(self, update: Update, generator: torch.Generator) -> None:
        self._update, self._generator = update, generator
        self._to_come = _UNRECORDED
        self._recordings: dict[int, tuple[Recording, Info]] = {}

    def run(self, count: int) -> Info:
        info: Info = {}
        while count > 0 and self._to_come > 0:
            info = self._call()
            self._to_come -= 1
            count -= 1
        while count > 0:
            size = self.stride if count >= self.stride else 1
            if size not in self._recordings:
                self._recordings[size] = self._record(size)
            graph, info = self._recordings[size]
            graph.replay()
            count -= size
        return info

    @functools.cached_property
    def _stream(self) -> torch.cuda.Stream:
        # Not the current one, on which nothing can be recorded.
        return torch.cuda.Stream(self._generator.device)

    def _call(self) -> Info:
        current = torch.cuda.current_stream(self._generator.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            info = self._update()
        current.wait_stream(self._stream)
        return info

    def _record(self, size: int) -> tuple[Recording, Info]:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        info: Info = {}
        # A graph that is collected while another is recorded would spoil it.
        gc.collect()
        # Another thread may be reading the next part of the data onto the device.
        mode = "thread_local"
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode=mode):
            for _ in range(size):
                info = self._update()
        return graph, info
