"""Shows the events of a local run's steps on stderr: announcements, messages and progress bars."""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import ExitStack
from typing import Any

import msgspec
from tqdm import tqdm

from qc_core import events
from qc_core.log import is_quiet
from qc_core.progress import progress_bar
from qc_core.scratch import scratch_folder

_MAX_EVENT_BYTES = 1 << 20
# More than a run starts in its life.
_MAX_STEPS = 4096
# A datagram that no step sends: it ends the thread that listens.
_STOP = b""


class Console:
    """Receives events while its block runs, and shows them.

    Attributes:
        address: path of the socket that steps send their events to.
        seconds: wall-clock time per finished step, the start of its processes included.
        failure: the first failure that a step reported, if any.
    """

    def __init__(self) -> None:
        self._opened = ExitStack()
        self.address = str(self._opened.enter_context(scratch_folder("run")) / "events")
        self.seconds: dict[str, float] = {}
        self.failure: events.StepFailed | None = None
        # In order of their start, with the number of processes that are still at work.
        self._running: dict[str, int] = {}
        self._bars: dict[tuple[int, str], tqdm] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # Steps connect and wait until the connection breaks; `accept` is not needed.
        self._alive = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._last_end = time.monotonic()

    def __enter__(self) -> Console:
        self._socket.bind(self.address)
        self._alive.bind(events.alive_address(self.address))
        self._alive.listen(_MAX_STEPS)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Datagrams arrive in order: all events of the steps are read before this one.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(_STOP, self.address)
        self._thread.join()
        self.interrupt_steps()
        self._socket.close()
        self._opened.close()
        for bar in self._bars.values():
            bar.close()

    def interrupt_steps(self) -> None:
        """Let the running steps save and end, and later ones end when they start."""
        self._alive.close()

    @property
    def unfinished(self) -> list[str]:
        """Steps that started and did not report an end, in order of their start."""
        return [step for step, processes in self._running.items() if processes]

    def show(self, event: events.Event) -> None:
        """Show one event."""
        match event:
            case events.StepStarted(step=step, description=description):
                # Parallel workers of one step are announced once.
                if step not in self._running:
                    self.write(f"▸ {step}: {description}")
                self._running[step] = self._running.get(step, 0) + 1
            case events.StepFinished(step=step):
                self._running[step] -= 1
                now = time.monotonic()
                self.seconds[step] = self.seconds.get(step, 0.0) + now - self._last_end
                self._last_end = now
            case events.StepFailed(step=step):
                self._running[step] -= 1
                self.failure = self.failure or event
            case events.Message(text=text):
                self.write(f"    {text}")
            case events.ProgressUpdated():
                self._update_bar(event)

    @staticmethod
    def write(line: str) -> None:
        """Write a line to stderr, above the bars; nothing with `--quiet`."""
        if not is_quiet():
            tqdm.write(line, file=sys.stderr)

    def _listen(self) -> None:
        while content := self._socket.recv(_MAX_EVENT_BYTES):
            try:
                self.show(events.decode_event(content))
            except (msgspec.MsgspecError, OSError, ValueError, KeyError):
                # What cannot be shown must not stop the run.
                continue

    def _update_bar(self, event: events.ProgressUpdated) -> None:
        key = event.process, event.label
        bar: Any = self._bars.get(key)
        if bar is None:
            bar = progress_bar(event.total, f"    {event.label}", event.unit, event.count)
            # A bar that remains on the screen would mix with the lines of other bars.
            bar.leave = False
            self._bars[key] = bar
        bar.set_postfix_str(event.note, refresh=False)
        bar.update(event.count - bar.n)
        if event.closed:
            final_state = str(bar)
            bar.close()
            del self._bars[key]
            self.write(final_state)
