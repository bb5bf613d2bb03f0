"""The process of one part.

python3 -m benchmarks.gpu.part NAME --output DIR --work DIR --until TIME [--tiny]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import product
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.results import Results
from benchmarks.hardware import hardware


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
            line = str(error).strip().split("\n")[0][:300]
            self.record(what, f"failed: {type(error).__name__}: {line}", **labels)


class NotMeasured(Exception):
    """A measurement that this machine or the remaining time does not permit; no failure."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(PARTS))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--until", type=float, required=True, help="Unix time of the limit")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    context = Context(options.name, options.output, options.work, options.until, tiny=options.tiny)
    if "hardware" not in context.results.read():
        context.results.set_head(hardware=hardware())
    importlib.import_module(f"benchmarks.gpu.parts.{options.name}").run(context)
    if context.failures:
        print(f"{context.failures} measurements failed: see `failed` in the results")
    return 1 if context.failures else 0


if __name__ == "__main__":
    sys.exit(main())
