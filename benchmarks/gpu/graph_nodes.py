"""Counts the launches of a recorded update, without a profiler.

A profiler needs the GPU's performance interface, which not every machine permits.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch


class RecordedGraphs:
    """The CUDA graphs that are recorded inside of a block.

    torch discards a graph's description when it has made the executable graph, unless it is asked
    to retain it.
    """

    def __init__(self) -> None:
        self._graphs: list[Any] = []

    def __enter__(self) -> RecordedGraphs:
        self._original = torch.cuda.CUDAGraph

        def retaining() -> Any:
            self._graphs.append(self._original(keep_graph=True))
            return self._graphs[-1]

        torch.cuda.CUDAGraph = retaining  # pyright: ignore[reportAttributeAccessIssue]
        return self

    def __exit__(self, *_: object) -> None:
        torch.cuda.CUDAGraph = self._original  # pyright: ignore[reportAttributeAccessIssue]

    def launches(self) -> int | None:
        """Kernels, copies and fills in the smallest graph, that of one update; None without graphs.

        Raises:
            RuntimeError: CUDA's runtime refuses.
        """
        return min(map(_nodes, self._graphs), default=None)


def _nodes(graph: Any) -> int:
    # torch has loaded this library.
    runtime = ctypes.CDLL(f"libcudart.so.{(torch.version.cuda or '').partition('.')[0]}")
    count = ctypes.c_size_t()
    handle = ctypes.c_void_p(graph.raw_cuda_graph())
    if error := runtime.cudaGraphGetNodes(handle, None, ctypes.byref(count)):
        raise RuntimeError(f"cudaGraphGetNodes failed with error {error}")
    return count.value
