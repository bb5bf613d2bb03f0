"""Events that the steps of a local run send to `qc run`, which shows them.

`qc run` listens on a Unix datagram socket and passes its path to the steps in `QC_PROGRESS_EVENTS`.
Each datagram is one event as JSON. A step's stdout and stderr carry no events.

A second socket, PATH.alive, takes connections. They break when `qc run` ends or is interrupted.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec

EVENTS_VARIABLE = "QC_PROGRESS_EVENTS"
# A step never waits longer than this for `qc run` to read an event.
_SEND_TIMEOUT_SECONDS = 1.0


class _Event(msgspec.Struct, frozen=True, tag_field="event", tag=True):
    pass


class Message(_Event, frozen=True):
    """A log message, printable and on one line."""

    text: str


class StepStarted(_Event, frozen=True):
    """A step has started its work."""

    step: str
    description: str


class StepFinished(_Event, frozen=True):
    """A step has succeeded."""

    step: str


class StepFailed(_Event, frozen=True):
    """A step has failed with an error message, on one line."""

    step: str
    message: str
    exit_code: int


class ProgressUpdated(_Event, frozen=True):
    """The state of a progress bar.

    Attributes:
        process: id of the process that counts; parallel workers have bars of the same label.
        closed: the last update of this bar.
    """

    process: int
    label: str
    count: int
    total: int
    unit: str
    note: str
    closed: bool


Event = Message | StepStarted | StepFinished | StepFailed | ProgressUpdated

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


def send_event(event: Event) -> None:
    """Send an event to `qc run`, if this process is a step of a local run."""
    path = os.environ.get(EVENTS_VARIABLE)
    if not path:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(_SEND_TIMEOUT_SECONDS)
            sender.sendto(_encoder.encode(event), path)
    except OSError:
        # `qc run` has ended or is suspended; the step's own log has the message anyway.
        pass


def alive_address(address: str) -> str:
    """Return the path of the socket that shows whether `qc run` is alive."""
    return f"{address}.alive"


@contextmanager
def when_run_ends(action: Callable[[], None]) -> Iterator[None]:
    """Call a function, in a thread, if `qc run` ends or is interrupted during the block.

    Does nothing if this process is not a step of a local run.
    """
    path, is_over = os.environ.get(EVENTS_VARIABLE), threading.Event()

    def wait() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.connect(alive_address(str(path)))
            except OSError:
                return
            with suppress(OSError):
                connection.recv(1)
        if not is_over.is_set():
            action()

    if path:
        threading.Thread(target=wait, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def decode_event(content: bytes) -> Event:
    """Return the event of one datagram (msgspec.ValidationError, msgspec.DecodeError)."""
    return _decoder.decode(content)
