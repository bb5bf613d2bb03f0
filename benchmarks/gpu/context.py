"""What a part works with: its device, its time, and where its figures go."""

from __future__ import annotations

import contextlib
import functools
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import product
from benchmarks.gpu.results import Results
from benchmarks.gpu.sizes import sizes


class Context:
    """What a part works with.

    Attributes:
        tiny: use sizes that only show that the programs run.
        results: of this part and of those before it.
        work: scratch folder that is shared by all parts.
        output: folder of the results.
    """

    def __init__(self, part: str, output: Path, work: Path, until: float, *, tiny: bool) -> None:
        self.tiny, self.work, self.output = tiny, work, output
        self.results = Results(output / "results.json")
        self.failures = 0
        self._part = part
        self._end = until

    @functools.cached_property
    def device(self) -> torch.device:
        """The GPU, or the CPU where there is none; set up as for training, when first used."""
        return product.training_device()

    def dataset(self) -> product.Dataset:
        """The random dataset that the parts share, written when first needed."""
        return product.random_dataset(self.work / "dataset", sizes(self.tiny).transitions)

    def left(self) -> float:
        """Seconds until this part's limit."""
        return self._end - time.time()

    def record(self, name: str, value: Any, **labels: Any) -> None:
        """Write one figure to the results at once, and print it."""
        if isinstance(value, float):
            value = float(f"{value:.5g}")
        self.results.add_figure(self._part, {"name": name, **labels, "value": value})
        print(f"{name} {' '.join(f'{k}={v}' for k, v in labels.items())}: {value}", flush=True)

    def require(self, seconds: float) -> None:
        """Stop the current `attempt` if less time is left; this is no failure."""
        if not self.tiny and self.left() < seconds:
            raise NotMeasured(
                f"not measured: {max(0, self.left()):.0f} s left, needs {seconds:.0f} s"
            )

    @contextlib.contextmanager
    def attempt(self, what: str, **labels: Any) -> Iterator[None]:
        """Record an error of this block as a figure and continue after it."""
        try:
            yield
        except NotMeasured as shortage:
            self.record(what, str(shortage), **labels)
        except Exception as error:
            traceback.print_exc()
            self.failures += 1
            if torch.cuda.is_initialized():
                # If the end of a recording fails, torch stays in the recording's stream.
                torch.cuda.set_stream(torch.cuda.default_stream())
            line = str(error).strip().split("\n")[0][:300]
            self.record(what, f"failed: {type(error).__name__}: {line}", **labels)


class NotMeasured(Exception):
    """A measurement that this machine or the remaining time does not permit; no failure."""
