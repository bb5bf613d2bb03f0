"""Reads the code blocks of the documentation, and runs them.

A block is run by `test_pages.py`, unless a comment before it gives the reason why not, or names the
test that runs it:

    <!-- not run: needs a cluster -->
    <!-- run by tests/manifests/test_readme.py -->

A `text` block after a block that was run shows what it prints: each line must be printed, apart
from numbers. `…` stands for any lines, or for the rest of a line.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qc_core.cli.main import main
from qc_core.config.resolve import resolve
from qc_core.sweeps.definition import read_sweep

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/*.md"))
    if path.name != "menu.md"
)
# Commands have the language `bash`, so that all of them are found.
OTHER_NAMES_OF_BASH = ("", "sh", "shell", "console", "zsh")
_BLOCK = re.compile(
    r"(?:<!-- (?P<marker>(?:not run: |run by )[^>]+) -->\n)?"
    r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
# Options that make training as small as it can be. Pages show the recipe's own sizes.
_SMALL = {
    "ingest": "--data.episodes 2 --data.workers 1",
    "pretrain": "--train.offline-steps 4 --train.hidden-dims 16 --train.batch-size 16",
    "tune": (
        "--train.hidden-dims 16 --train.batch-size 16 --train.online-steps 12 "
        "--train.learning-starts 4 --tune.trials 1 --tune.workers 1 --tune.evaluations 1 "
        "--tune.episodes 1 --evaluate.episodes 1 --evaluate.workers 1"
    ),
    "evaluate": "--evaluate.episodes 1 --evaluate.workers 1",
    "promote": "--publish.minimum-success 0 --publish.gate-episodes 1 --evaluate.workers 1",
    "play": "--episodes 1 --workers 1",
    "coherence": "--episodes 1 --workers 1",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        marker: why the block is not run, or the test that runs it; empty if it is run.
    """

    page: Path
    line: int
    language: str
    text: str
    marker: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether `run_page` runs the block."""
        return self.language in ("bash", "python") and not self.marker


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    content = (ROOT / page).read_text()
    return [
        Block(
            page,
            content.count("\n", 0, match.start("text")),
            match["language"],
            textwrap.dedent(match["text"]),
            match["marker"] or "",
        )
        for match in _BLOCK.finditer(content)
    ]


def run_page(page: Path, names: dict[str, object]) -> None:
    """Run the blocks of a page in the current folder, and compare what they print.

    Args:
        names: variables that the page's Python programs find.
    """
    printed: str | None = None
    for block in blocks_of(page):
        if block.language == "text" and printed is not None:
            _require_printed(block, printed)
        elif block.runs and block.language == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(block.text, block.place, "exec"), names)
            printed = output.getvalue()
        elif block.runs:
            printed = "".join(_run(command, block) for command in commands_of(block.text))
        elif block.language == "yaml" and (file := re.match(r"# (\S+\.yaml)\n", block.text)):
            _write_and_check(Path(file[1]), block.text)
        else:
            printed = None


def _write_and_check(path: Path, text: str) -> None:
    """Write a sweep file or a recipe file, and read it (UsageError: it is not valid)."""
    path.write_text(text)
    if "recipes:" in text:
        read_sweep(path)
    else:
        resolve(str(path))


def commands_of(text: str) -> Iterator[str]:
    """Split a script into commands of one line."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def _run(command: str, block: Block) -> str:
    """Run one command and return what it prints.

    A command of `qc` runs in this process, which has imported torch already.
    """
    words = shlex.split(command, comments=True)
    if command == "source .venv/bin/activate":
        return ""
    if words[0] == "export":
        os.environ.update(dict(word.split("=", 1) for word in words[1:]))
        return ""
    if words[0] == "qc" and not set(words) & {"|", ">", "<", "&"}:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = main([*words[1:], *_SMALL.get(words[1], "").split()])
        assert code == 0, f"{block.place}: {command!r} returned {code}"
        return output.getvalue()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"{block.place}: {command!r}: {done.stderr}"
    return done.stdout


def _require_printed(block: Block, printed: str) -> None:
    """Fail if a line of a `text` block was not printed after the lines before it."""
    lines = iter(map(_without_numbers, printed.splitlines()))
    for expected in map(_without_numbers, block.text.splitlines()):
        start, shortened, _ = expected.partition("…")
        assert any(line.startswith(start) if shortened else line == expected for line in lines), (
            f"{block.place}: {expected!r} is not printed in\n{printed}"
        )


def _without_numbers(line: str) -> str:
    """Replace numbers, times and digests, and the widths of columns, which depend on them."""
    line = re.sub(r"\b(?:[0-9a-f]{8,}|(?=[a-f]*\d)[0-9a-f]{6,7})\b", "#", line)
    line = re.sub(r"-?\d[\d.,:]*", "#", line)
    # A single episode, which the tests play, has no interval.
    line = line.replace("(no interval)", "(# to #)")
    return re.sub(r"\s+|─+", " ", line).strip()
