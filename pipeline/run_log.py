"""A file that takes everything that the steps of a local run and `kfp.local` print."""

from __future__ import annotations

import io
import threading
from typing import TextIO


class RunLog(io.TextIOBase):
    """A stream that takes the place of stdout while `kfp.local` runs, and writes to a file.

    `kfp.local` copies the output of each step to stdout line by line. It prints blank lines and
    indents each line by a write of its own; both are left out.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        # kfp.local copies parallel steps by threads.
        self._lock = threading.Lock()

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        with self._lock:
            for line in text.splitlines():
                if line.strip():
                    self._file.write(line + "\n")
        return len(text)

    def flush(self) -> None:
        self._file.flush()
