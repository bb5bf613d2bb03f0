"""Functions that need nothing of each other return their results in order."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from qc_core.networks.side_by_side import side_by_side

GPU = torch.device("cuda")


def test_a_cpu_calls_the_functions_one_after_the_other() -> None:
    called: list[str] = []

    def call(name: str) -> str:
        called.append(name)
        return name.upper()

    names = ["first", "second", "third"]
    functions = [lambda name=name: call(name) for name in names]
    assert side_by_side(functions, torch.device("cpu")) == ["FIRST", "SECOND", "THIRD"]
    assert called == names


class Stream:
    """Records which streams a stream has waited for, as `torch.cuda.Stream` orders work."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.waited: list[Stream] = []

    def wait_stream(self, other: "Stream") -> None:
        self.waited.append(other)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[Stream]:
    """A GPU's streams, for functions that only ask on which one they run; the last is current."""
    entered = [Stream(GPU)]

    @contextmanager
    def enter(stream: Stream) -> Iterator[None]:
        entered.append(stream)
        yield
        entered.pop()

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: entered[-1])
    monkeypatch.setattr(torch.cuda, "stream", enter)
    return entered


def test_a_gpu_runs_each_function_on_a_stream_of_its_own_between_fork_and_join(
    streams: list[Stream],
) -> None:
    (here,) = streams
    first, second = side_by_side([lambda: streams[-1]] * 2, GPU)
    assert len({first, second, here}) == 3
    assert first.waited == second.waited == [here]
    assert here.waited == [first, second]
    assert side_by_side([lambda: streams[-1]] * 2, GPU, streams=False) == [here, here]


def test_a_fork_within_a_function_shares_no_stream_with_the_functions_beside_it(
    streams: list[Stream],
) -> None:
    """Memory that a stream frees is used again by the stream, which waits only for its own fork."""

    def fork() -> list[Stream]:
        return [streams[-1], *side_by_side([lambda: streams[-1]] * 2, GPU)]

    def use() -> list[Stream]:
        found = side_by_side([fork, fork, lambda: [streams[-1]]], GPU)
        return [stream for streams_of_one in found for stream in streams_of_one]

    used = use()
    assert len({*used}) == len(used) == 7
    assert use() == used
