"""Repeats an update as fast as the device can: one by one, or as CUDA graphs."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from qc_core.agents.agent import Info
from qc_core.networks.side_by_side import side_by_side

# Data and noise of one update.
Batch = Any
Draw = Callable[[], Batch]
Learn = Callable[[Batch], Info]

# Launching a CUDA graph costs the host as much as a few kernels.
UPDATES_PER_GRAPH = 16
# During the first updates the optimisers create their state and the libraries their workspaces,
# which a graph must not contain.
_WARM_UP_UPDATES = 3


class CudaGraph(Protocol):
    """Recorded work on the device; `torch.cuda.CUDAGraph`."""

    def replay(self) -> None: ...


class Updates(Protocol):
    """Repeats an update, which draws data and noise and learns from them.

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
    draw: Draw,
    learn: Learn,
    generator: torch.Generator,
    parameters: Iterable[nn.Parameter] = (),
) -> Updates:
    """Return the fastest way to repeat an update on the device of its generator.

    What both functions read and write must stay at the same memory addresses: parameters,
    optimiser state, data and counters.

    Args:
        draw: draws the data and noise of one update; needs nothing that `learn` changes.
        learn: updates the networks.
        generator: the generator that `draw` alone draws from.
        parameters: whose `grad` is that of the last update after each `run`.
    """
    if generator.device.type == "cuda":
        return CudaGraphUpdates(draw, learn, generator, parameters)
    return EagerUpdates(draw, learn)


class EagerUpdates:
    """Draws and learns again and again."""

    stride, fixed_addresses = 1, False

    def __init__(self, draw: Draw, learn: Learn) -> None:
        self._draw, self._learn = draw, learn

    def run(self, count: int) -> Info:
        info: Info = {}
        for _ in range(count):
            info = self._learn(self._draw())
        return info


class CudaGraphUpdates:
    """Replays CUDA graphs of several updates each, from sampling to the target critic.

    Within a graph, the next batch is drawn while the networks learn from the one before.
    """

    stride, fixed_addresses = UPDATES_PER_GRAPH, True

    def __init__(
        self,
        draw: Draw,
        learn: Learn,
        generator: torch.Generator,
        parameters: Iterable[nn.Parameter] = (),
    ) -> None:
        self._draw, self._learn, self._generator = draw, learn, generator
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

    @property
    def _stream(self) -> torch.cuda.Stream:
        return _recording_stream(self._generator.device)

    def _call(self) -> Info:
        current = torch.cuda.current_stream(self._generator.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            info = self._chain(1)
        current.wait_stream(self._stream)
        return info

    def _chain(self, size: int) -> Info:
        """Run updates, each while the batch of the next one is drawn.

        The networks never learn on the recording stream itself. torch frees the workspaces of its
        matrix products with any graph that was recorded there, though other graphs may use them.
        """
        info: Info = {}
        batch = self._draw()
        for left in reversed(range(size)):
            functions = [partial(self._learn, batch), *[self._draw] * (left > 0)]
            info, *drawn = side_by_side(functions, self._generator.device)
            batch = drawn[0] if drawn else None
        return info

    def _record(self, size: int) -> tuple[CudaGraph, Info]:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        # Freeing a graph while another is recorded would invalidate the recording.
        gc.collect()
        # Another thread may be copying the next shard of data to the device.
        mode = "thread_local"
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode=mode):
            info = self._chain(size)
        return graph, info


@functools.cache
def _recording_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream in which updates run, because CUDA cannot record on the default stream.

    It is the same for all updates of a process: torch hands out 32 streams in turn, so the streams
    beside a 33rd would be the same as those beside the first.
    """
    return torch.cuda.Stream(device)
