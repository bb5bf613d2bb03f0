"""Calls functions that do not need each other's results, on a GPU at the same time.

An update is many small kernels, and a GPU runs several of them at once if they are in different
streams. A CUDA graph that records the update keeps this.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

Result = TypeVar("Result")


def side_by_side(
    functions: Sequence[Callable[[], Result]], device: torch.device, *, streams: bool = True
) -> list[Result]:
    """Call the functions and return their results; on a GPU each has a stream of its own.

    Work before this call happens before all functions, and work after it after all of them.

    A stream's memory is used again by the same stream without waiting for others. So the caller
    keeps every tensor that the functions read until this returns. If it differentiates through
    their results, it does not save them for its backward pass, as a product with them would.

    Args:
        streams: False calls them one after the other.
    """
    if device.type != "cuda" or not streams:
        return [function() for function in functions]
    here = torch.cuda.current_stream(device)
    results = []
    for index, function in enumerate(functions):
        stream = _side_stream(here, index)
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            results.append(function())
    for index in range(len(functions)):
        here.wait_stream(_side_stream(here, index))
    return results


@functools.cache
def _side_stream(here: torch.cuda.Stream, index: int) -> torch.cuda.Stream:
    """The same stream each time, so that it finds its memory again, and no other fork uses it."""
    return torch.cuda.Stream(here.device)
