"""Runs the commands of the example's README as they are, and prints the time of each.

    python -m tests.examples.readme FOLDER

The package is found by its path instead of being installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.docs.pages import ROOT, blocks_of, commands_of

README = Path("examples/reach/README.md")
EXAMPLE = ROOT / README.parent
INSTALL = "pip install -e examples/reach"


def commands() -> list[str]:
    """Return the commands of the README, in order, without the installation."""
    blocks = [block for block in blocks_of(README) if block.language == "bash"]
    first, *others = [command for block in blocks for command in commands_of(block.text)]
    assert first == INSTALL
    return others


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    (folder / "examples").symlink_to(EXAMPLE.parent)
    search = os.pathsep.join([str(EXAMPLE), str(ROOT), os.environ.get("PYTHONPATH", "")])
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    start = time.monotonic()
    for command in commands():
        began = time.monotonic()
        subprocess.run(
            command,
            shell=True,
            check=True,
            cwd=folder,
            env={**os.environ, "PATH": programs, "PYTHONPATH": search},
        )
        print(f"{time.monotonic() - began:6.1f} s  {command}", flush=True)
    print(f"{time.monotonic() - start:6.1f} s  in total, {processor_seconds():.0f} s of CPU time")


def processor_seconds() -> float:
    """Return the CPU time of all commands."""
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()
