"""The process of one part.

python3 -m benchmarks.gpu.part NAME --output DIR --work DIR --until TIME [--tiny]
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from pathlib import Path

from benchmarks.gpu.context import Context
from benchmarks.gpu.machine import machine
from benchmarks.gpu.parts import PARTS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(PARTS))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--until", type=float, required=True, help="Unix time of the limit")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    # A part that is stopped still ends the processes and services that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    context = Context(options.name, options.output, options.work, options.until, tiny=options.tiny)
    if "hardware" not in context.results.read():
        context.results.set_head(hardware=machine())
    importlib.import_module(f"benchmarks.gpu.parts.{options.name}").run(context)
    if context.failures:
        print(f"{context.failures} measurements failed: see `failed` in the results")
    return 1 if context.failures else 0


if __name__ == "__main__":
    sys.exit(main())
