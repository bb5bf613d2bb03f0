"""Draw what the steps of a local run report, and keep everything else in a log.

`kfp.local` copies each step's output to this process line by line, its own log lines between
them. Lines that are events become announcements and bars; all other lines, and what the events
say in words, go to the log.
"""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import time
from typing import Any, TextIO

from tqdm import tqdm

from qc_core.progress import EVENT_PREFIX

_LOG_INTERVAL = 15.0
# What kfp puts before the output of a step.
_INDENT = "    "
_EXCEPTION = re.compile(r"[\w.]+(Error|Exception)\b")


class Console(io.TextIOBase):
    """A stream to put in place of stdout while `kfp.local` runs.

    Attributes:
        seconds: wall-clock time per step, the start of its processes included.
        error: message and exit code of the step that refused or failed, if one did.
        exception: the last exception that a step printed, if any.
    """

    def __init__(self, log: TextIO) -> None:
        self.seconds: dict[str, float] = {}
        self.error: tuple[str, int] | None = None
        self.exception: str | None = None
        self._log = log
        self._screen = sys.stderr
        self._terminal = self._screen.isatty()
        self._bars: dict[tuple[int, str], tqdm] = {}
        self._last_line: dict[tuple[int, str], float] = {}
        self._announced: set[str] = set()
        # Parallel steps are copied by threads.
        self._lock = threading.RLock()
        self._boundary = time.monotonic()

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        with self._lock:
            for line in text.splitlines():
                if not line.strip():
                    continue
                event = _as_event(line)
                if event is not None:
                    self._handle(event)
                    continue
                self._log.write(line.removeprefix(_INDENT) + "\n")
                if _EXCEPTION.match(line.strip()):
                    self.exception = line.strip()
        return len(text)

    def flush(self) -> None:
        self._log.flush()

    def say(self, text: str) -> None:
        """One line on the screen, above the bars, and in the log."""
        self._log.write(text + "\n")
        tqdm.write(text, file=self._screen)

    def close(self) -> None:
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()

    def _handle(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "step":
            # The workers of one step announce it once.
            if event["name"] not in self._announced:
                self._announced.add(event["name"])
                self.say(f"▸ {event['name']}: {event['description']}")
        elif kind == "step-done":
            now = time.monotonic()
            before = self.seconds.get(event["name"], 0.0)
            self.seconds[event["name"]] = before + now - self._boundary
            self._boundary = now
        elif kind == "say":
            self.say(f"    {event['text']}")
        elif kind == "error":
            self.error = event["message"], event["code"]
            self._log.write(f"{event['name']}: {event['message']}\n")
        elif self._terminal:
            self._draw(event)
        else:
            self._print_now_and_then(event)

    def _draw(self, event: dict[str, Any]) -> None:
        key = event["process"], event["label"]
        bar = self._bars.get(key)
        if bar is None:
            bar = self._bars[key] = tqdm(
                total=event["total"],
                desc=f"    {event['label']}",
                unit=event["unit"],
                dynamic_ncols=True,
                leave=False,
                file=self._screen,
            )
        bar.set_postfix_str(event["note"], refresh=False)
        bar.update(event["count"] - bar.n)
        if event["closed"]:
            summary = self._summary(event, bar.format_dict["elapsed"])
            bar.close()
            del self._bars[key]
            self.say(summary)

    def _print_now_and_then(self, event: dict[str, Any]) -> None:
        key = event["process"], event["label"]
        now = time.monotonic()
        start = self._last_line.setdefault((-key[0], key[1]), now)
        if event["closed"] or now - self._last_line.get(key, start) >= _LOG_INTERVAL:
            self._last_line[key] = now
            self.say(self._summary(event, now - start))

    @staticmethod
    def _summary(event: dict[str, Any], elapsed: float) -> str:
        rate = event["count"] / elapsed if elapsed > 0 else 0.0
        left = (event["total"] - event["count"]) / rate if rate else 0.0
        time_text = f"{elapsed:.0f} s" if event["closed"] else f"{left:.0f} s left"
        note = f", {event['note']}" if event["note"] else ""
        return (
            f"    {event['label']}: {event['count']:,}/{event['total']:,} {event['unit']}s, "
            f"{rate:.1f}/s, {time_text}{note}"
        )


def _as_event(line: str) -> dict[str, Any] | None:
    """The event in a line, if it is one; another process's chatter may look like one."""
    if EVENT_PREFIX not in line:
        return None
    try:
        event = json.loads(line[line.index(EVENT_PREFIX) + len(EVENT_PREFIX) :])
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
