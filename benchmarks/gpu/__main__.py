"""Run every GPU measurement and write `results.json`, `summary.md` and `logs.txt`.

Each part runs in its own process with its own time limit. A part that fails is recorded, and the
next one runs. Needs only the standard library; the parts need what `wheels.txt` and
`machine-packages.txt` list.

    python3 -m benchmarks.gpu --output DIR
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.environment import REPOSITORY, part_environment, require_packages
from benchmarks.gpu.parts import PARTS, Part
from benchmarks.gpu.results import Results
from benchmarks.gpu.runner import Runner, run_summary

_WORK = REPOSITORY / "runs" / "gpu"
_MINUTES = 12.0
# For installing the wheels and for the summary.
_OTHER_SECONDS = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--minutes", type=float, default=_MINUTES, help="of everything together; parts share them"
    )
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to test the programs")
    parser.add_argument(
        "--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="only these"
    )
    parser.add_argument(
        "--work", type=Path, default=_WORK, metavar="DIR", help="scratch folder; not a result"
    )
    options = parser.parse_args()
    if (options.output / "results.json").exists():
        parser.error(f"{options.output} has results already; choose another folder")
    require_packages()
    # A stopped kit still ends its part and writes the summary.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    deadline = time.monotonic() + 60 * options.minutes
    output: Path = options.output.resolve()
    work: Path = options.work.resolve()
    for folder in (output, work):
        folder.mkdir(parents=True, exist_ok=True)
    results = Results(output / "results.json")
    results.create(
        {
            "command": f"python3 -m benchmarks.gpu {' '.join(sys.argv[1:])}",
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "tiny": options.tiny,
        }
    )
    environment = part_environment(work, results)
    runner = Runner(output, work, environment, results, deadline=deadline, tiny=options.tiny)
    try:
        selected = [part for name, part in PARTS.items() if name in options.parts]
        for part in selected:
            runner.run(part, scale=part_scale(options.minutes, selected))
    finally:
        run_summary(output, environment)
    return 0 if results.all_passed() else 1


def part_scale(minutes: float, selected: Sequence[Part]) -> float:
    """The factor for the parts' limits, so that the selected parts share all of the time."""
    return (60 * minutes - _OTHER_SECONDS) / sum(part.seconds for part in selected)


if __name__ == "__main__":
    sys.exit(main())
