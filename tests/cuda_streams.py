"""Finds races between CUDA streams in code that runs on a CPU, with streams that only keep order.

Each operation is attributed to the stream that would run it: in the backward pass that of the
forward operation. Vector clocks know which operations are ordered by forks, joins and autograd. A
race is a tensor that one stream reads or writes while another one writes it, or memory that a
stream may use again, because the tensor is gone, while another stream still reads it. This models
the rules that torch documents for `torch.cuda.Stream`, its caching allocator and autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from qc_core.networks.side_by_side import side_by_side

GPU = torch.device("cuda")


class Stream:
    """A stream of `StreamModel`, with what the product uses of `torch.cuda.Stream`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.time = 0
        self.seen: dict[Stream, int] = {}

    def wait_stream(self, other: Stream) -> None:
        self.wait(other.now())

    def now(self) -> dict[Stream, int]:
        """All operations that are ordered before the next one of this stream."""
        return {**self.seen, self: self.time}

    def wait(self, past: dict[Stream, int]) -> None:
        for stream, time in past.items():
            self.seen[stream] = max(time, self.seen.get(stream, 0))

    def is_after(self, stream: Stream, time: int) -> bool:
        return stream is self or self.seen.get(stream, 0) >= time


@dataclass(eq=False)
class Memory:
    """What is known of a tensor's memory: its stream, and operations as (stream, time, name).

    `node` is the node of the autograd graph that computed it.
    """

    reference: StorageWeakRef
    stream: Stream
    shape: tuple[int, ...]
    node: Any
    written: tuple[Stream, int, str] | None = None
    read: dict[Stream, tuple[int, str]] = field(default_factory=dict)


class StreamModel(TorchDispatchMode):
    """Runs code as on a GPU with streams, and lists races."""

    def __init__(self) -> None:
        super().__init__()
        self.races: list[str] = []
        self._current = [Stream(GPU)]
        self._memory: dict[int, Memory] = {}
        self._freed: list[Memory] = []
        # Of the autograd graph: the stream of each node, and what it waits for.
        self._streams: dict[Any, Stream] = {}
        self._producers: dict[Any, list[Any]] = {}
        self._ended: dict[Any, dict[Stream, int]] = {}
        self._node: Any = None

    @property
    def stream(self) -> Stream:
        return self._current[-1]

    @property
    def used(self) -> set[Stream]:
        """The streams that ran an operation."""
        streams = {memory.stream for memory in (*self._memory.values(), *self._freed)}
        return {stream for stream in streams if stream.time}

    def stream_of(self, tensor: Tensor) -> Stream:
        """The stream that computed a tensor."""
        return self._memory[_key(tensor)].stream

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        self._current.append(stream)
        yield
        self._current.pop()

    def side_by_side(
        self, functions: Sequence[Callable[[], Any]], _: torch.device, *, streams: bool = True
    ) -> list[Any]:
        """The product's `side_by_side`, as on a GPU."""

        def attributed(function: Callable[[], Any]) -> Any:
            result = function()
            self._attribute(result)
            return result

        marked = [lambda function=function: attributed(function) for function in functions]
        return side_by_side(marked, GPU, streams=streams)

    def backward(self, loss: Tensor, inputs: Sequence[Tensor]) -> None:
        """`loss.backward(inputs=inputs)`."""
        self._differentiate(loss, inputs, lambda: _backward(loss, inputs=inputs))

    def grad(self, loss: Tensor, inputs: Tensor) -> tuple[Tensor, ...]:
        """`torch.autograd.grad(loss, inputs)`."""
        return self._differentiate(loss, [inputs], lambda: _grad(loss, inputs))

    def _differentiate(self, loss: Tensor, inputs: Sequence[Tensor], run: Callable[[], Any]) -> Any:
        self._attribute(loss)
        caller = self.stream
        self._ended[None] = caller.now()
        result = run()
        self._end_node()
        for node in self._reachable(loss):
            if hasattr(node, "variable") and any(node.variable is leaf for leaf in inputs):
                self._start(node)
                caller.wait(self._streams[node].now())
        self._ended.clear()
        self._node = None
        return result

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        stream = self._stream_of_operation(name, args)
        self._collect()
        stream.time += 1
        arguments = func._schema.arguments
        for argument, value in [
            *zip(arguments, args, strict=False),
            *((a, kwargs[a.name]) for a in arguments if a.name in kwargs),
        ]:
            writes = argument.alias_info is not None and argument.alias_info.is_write
            for tensor in tree_leaves(value):
                if isinstance(tensor, Tensor):
                    self._use(tensor, stream, name, writes=writes)
        result = func(*args, **kwargs)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and _key(tensor) not in self._memory:
                self._allocate(tensor, stream, name)
        return result

    def _stream_of_operation(self, name: str, args: Any) -> Stream:
        node = torch._C._current_autograd_node()
        if node is None:
            return self.stream
        if node is not self._node:
            self._end_node()
            self._node = node
            self._start(node)
        if name == "add":
            for following, _ in node.next_functions:
                if following is not None and self._is_other_gradient(following, node, args):
                    # Autograd adds up gradients on the stream of the node that they are for.
                    self._end_node()
                    self._start(following)
                    return self._streams[following]
        return self._streams[node]

    def _is_other_gradient(self, following: Any, node: Any, args: Any) -> bool:
        """Whether another node than this one computed one of the arguments for `following`."""
        memories = [self._memory.get(_key(x)) for x in args if isinstance(x, Tensor)]
        nodes = {memory.node for memory in memories if memory is not None} - {None, node}
        waiting = [other for other in self._producers[following] if other is not node]
        while waiting:
            other = waiting.pop()
            if other in nodes:
                return True
            if other not in self._ended:
                # It passes the gradient on.
                waiting += [p for p in self._producers.get(other, ()) if p is not node]
        return False

    def _start(self, node: Any) -> None:
        """A node waits for all that computed its gradient so far, and those for the caller."""
        for producer in self._producers.get(node) or [None]:
            if producer in self._ended:
                self._streams[node].wait(self._ended[producer])
            else:
                # It passes the gradient on, on its own stream.
                self._start(producer)
                self._streams[node].wait(self._streams[producer].now())

    def _end_node(self) -> None:
        if self._node is not None:
            self._ended[self._node] = self._streams[self._node].now()

    def _attribute(self, result: Any) -> None:
        """The operations of a result run on this stream, also in the backward pass."""
        for node in self._reachable(result):
            self._streams.setdefault(node, self.stream)
            for following, _ in node.next_functions:
                producers = self._producers.setdefault(following, [])
                if node not in producers:
                    producers.append(node)

    def _reachable(self, result: Any) -> list[Any]:
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        waiting: list[Any] = [tensor.grad_fn for tensor in tensors]
        found: dict[Any, None] = {}
        while waiting:
            node = waiting.pop()
            if node is not None and node not in found:
                found[node] = None
                waiting.extend(following for following, _ in node.next_functions)
        return [*found]

    def _use(self, tensor: Tensor, stream: Stream, name: str, *, writes: bool) -> None:
        memory = self._memory.get(_key(tensor))
        if memory is None:
            # It was there before the first operation.
            memory = self._add(tensor, stream)
        if memory.written is not None and not stream.is_after(*memory.written[:2]):
            self._report(memory, name, memory.written[2])
        if writes:
            for reader, (time, reading) in memory.read.items():
                if not stream.is_after(reader, time):
                    self._report(memory, name, reading)
            memory.written, memory.read = (stream, stream.time, name), {}
        else:
            memory.read[stream] = (stream.time, name)

    def _allocate(self, tensor: Tensor, stream: Stream, name: str) -> None:
        for memory in [memory for memory in self._freed if memory.stream is stream]:
            uses = [(s, t, n) for s, (t, n) in memory.read.items()]
            for user, time, using in [*uses, *([memory.written] if memory.written else [])]:
                if not stream.is_after(user, time):
                    self._report(memory, f"memory of {name}", using)
            self._freed.remove(memory)
        self._add(tensor, stream).written = (stream, stream.time, name)

    def _add(self, tensor: Tensor, stream: Stream) -> Memory:
        node = torch._C._current_autograd_node()
        reference = StorageWeakRef(tensor.untyped_storage())
        memory = Memory(reference, stream, tuple(tensor.shape), node)
        self._memory[_key(tensor)] = memory
        return memory

    def _collect(self) -> None:
        gone = [key for key, memory in self._memory.items() if memory.reference.expired()]
        self._freed += [self._memory.pop(key) for key in gone]

    def _report(self, memory: Memory, name: str, other: str) -> None:
        self.races.append(f"{name} does not wait for {other} of a tensor {[*memory.shape]}")


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


_backward, _grad = Tensor.backward, torch.autograd.grad


@contextmanager
def stream_model(monkeypatch: pytest.MonkeyPatch, *modules: str) -> Iterator[StreamModel]:
    """A model in which these modules' `side_by_side` uses streams, also on a CPU."""
    model = StreamModel()
    with monkeypatch.context() as patch, model:
        patch.setattr(torch.cuda, "Stream", Stream)
        patch.setattr(torch.cuda, "current_stream", lambda _: model.stream)
        patch.setattr(torch.cuda, "stream", model.on)
        patch.setattr(Tensor, "backward", lambda loss, inputs: model.backward(loss, inputs))
        patch.setattr(torch.autograd, "grad", model.grad)
        for module in modules:
            patch.setattr(f"{module}.side_by_side", model.side_by_side)
        yield model
