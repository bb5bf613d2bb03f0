"""Repeats an update as fast as the device can: one by one, or as CUDA graphs."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from qc_core.agents.agent import Info

Update = Callable[[], Info]

# Launching a CUDA graph costs the host as much as a few kernels.
UPDATES_PER_GRAPH = 16
# During the first updates the optimisers create their state and the libraries their workspaces,
# which a graph must not contain.
_WARM_UP_UPDATES = 3


class CudaGraph(Protocol):
    """Recorded work on the device; `torch.cuda.CUDAGraph`."""

    def replay(self) -> None: ...


class Updates(Protocol):
    """Repeats an update that draws its own data and noise.

    Attributes:
        stride: the number of updates that costs least per update.
        fixed_addresses: whether data must stay at the same memory addresses between calls.
    """

    stride: int
    fixed_addresses: bool

    def run(self, count: int) -> Info:
        """Run `count` updates, at least one, and return the last one's figures.

        The next call may overwrite the figures.
        """
        ...


def repeat(
    update: Update, generator: torch.Generator, parameters: Iterable[nn.Parameter] = ()
) -> Updates:
    """Return the fastest way to repeat an update on the device of its generator.

    Args:
        update: what it reads and writes must stay at the same memory addresses: parameters,
            optimiser state, data and counters.
        generator: the generator that the update draws from.
        parameters: whose `grad` is that of the last update after each `run`.
    """
    if generator.device.type == "cuda":
        return CudaGraphUpdates(update, generator, parameters)
    return EagerUpdates(update)


class EagerUpdates:
    """Calls the update again and again."""

    stride, fixed_addresses = 1, False

    def __init__(self, update: Update) -> None:
        self._update = update

    def run(self, count: int) -> Info:
        info: Info = {}
        for _ in range(count):
            info = self._update()
        return info


class CudaGraphUpdates:
    """Replays CUDA graphs of several updates each, from sampling to the target critic."""

    stride, fixed_addresses = UPDATES_PER_GRAPH, True

    def __init__(
        self,
        update: Update,
        generator: torch.Generator,
        parameters: Iterable[nn.Parameter] = (),
    ) -> None:
        self._update, self._generator = update, generator
        self._parameters = [*parameters]
        # Each graph writes gradients to its own memory; the parameters refer to those of one graph.
        self._gradients: dict[int, list[Tensor | None]] = {}
        self._referred = 0
        self._warm_up_left = _WARM_UP_UPDATES
        self._graphs: dict[int, tuple[CudaGraph, Info]] = {}

    def run(self, count: int) -> Info:
        info: Info = {}
        while count > 0 and self._warm_up_left > 0:
            info = self._call()
            self._warm_up_left -= 1
            count -= 1
        while count > 0:
            size = self.stride if count >= self.stride else 1
            if size not in self._graphs:
                self._graphs[size] = self._record(size)
                self._gradients[size] = [parameter.grad for parameter in self._parameters]
                self._referred = size
            graph, info = self._graphs[size]
            graph.replay()
            count -= size
            if size != self._referred:
                self._refer_to(size)
        return info

    def _refer_to(self, size: int) -> None:
        """Let the parameters refer to the gradients of the graph of this size."""
        for parameter, gradient in zip(self._parameters, self._gradients[size], strict=True):
            parameter.grad = gradient
        self._referred = size

    @functools.cached_property
    def _stream(self) -> torch.cuda.Stream:
        # CUDA cannot record on the default stream.
        return torch.cuda.Stream(self._generator.device)

    def _call(self) -> Info:
        current = torch.cuda.current_stream(self._generator.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            info = self._update()
        current.wait_stream(self._stream)
        return info

    def _record(self, size: int) -> tuple[CudaGraph, Info]:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        info: Info = {}
        # Freeing a graph while another is recorded would invalidate the recording.
        gc.collect()
        # Another thread may be copying the next shard of data to the device.
        mode = "thread_local"
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode=mode):
            for _ in range(size):
                info = self._update()
        return graph, info
