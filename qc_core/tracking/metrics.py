"""The metrics of one training: one stream of points that goes to any number of sinks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from qc_core.log import log

# Seconds between two points. Late points are rarer: a training has a few thousand, however long it
# takes.
_MIN_INTERVAL, _SHARE_OF_TIME = 5.0, 1 / 500
# Keys of a learning curve's points that are not metrics.
_NO_METRICS = ("step", "seconds", "reports-success")


class Point(NamedTuple):
    """Metrics at one step of a training.

    Attributes:
        time: seconds since 1970.
    """

    step: int
    time: float
    values: dict[str, float]


class Activity(NamedTuple):
    """What a training has done.

    Attributes:
        counts: totals so far, whose rates are metrics: `updates` becomes
            `rate/updates_per_second`.
        values: metrics of what happened since the last call.
    """

    counts: Mapping[str, int]
    values: Mapping[str, float] = {}


class Watched(Protocol):
    """A training whose metrics are logged."""

    step: int

    def figures(self) -> dict[str, float]:
        """Return losses and values of the last update; waits for the device."""
        ...

    def activity(self) -> Activity:
        """Return what the training has done."""
        ...


class Sink(Protocol):
    """Takes the points of a training."""

    def start(self, step: int) -> None:
        """Expect points from this step on; later ones of an earlier attempt are void."""
        ...

    def log(self, point: Point) -> None:
        """Take a point without waiting for anything but a local file."""
        ...

    def close(self, state: str) -> None:
        """Take the end of the training, which may not have started.

        Args:
            state: `finished`, `failed` or `stopped`.
        """
        ...


class Metrics:
    """Logs the metrics of one training, at its own pace, to all sinks.

    A sink that raises an error is logged and receives no more points: it never ends a training.

    Args:
        first_step: added to the training's step.
    """

    def __init__(self, sinks: Sequence[Sink] = (), first_step: int = 0) -> None:
        self._sinks, self._first_step = [*sinks], first_step
        self._training: Watched | None = None
        self._curve: Sequence[Mapping[str, float]] = ()
        self._seen = 0

    def start(self, training: Watched, curve: Sequence[Mapping[str, float]]) -> None:
        """Begin with a training at its current step.

        Args:
            curve: its learning curve, whose new points are metrics too.
        """
        self._training, self._curve, self._seen = training, curve, len(curve)
        self._begin = self._next = time.monotonic()
        # The first look has no earlier counts to compute a rate from.
        self._counted_at, self._counts = self._begin, training.activity().counts
        self._each(lambda sink: sink.start(self._step))

    def follow(self) -> None:
        """Log the new points of the curve and, if it is time, the figures of the last update.

        Raises:
            TrainingDiverged: a figure is not finite.
        """
        training = self._training
        if not self._sinks or training is None:
            return
        values: dict[str, float] = {}
        for point in self._curve[self._seen :]:
            # Figures of an earlier step have been logged at that step.
            is_current = point["step"] == self._step
            new = _metrics(point, with_figures=is_current)
            if is_current:
                values |= new
            else:
                self._log(int(point["step"]), new)
        self._seen = len(self._curve)
        now = time.monotonic()
        if now >= self._next and (figures := training.figures()):
            values = {**figures, **values, **self._rates(now, training.activity())}
            self._next = now + max(_MIN_INTERVAL, (now - self._begin) * _SHARE_OF_TIME)
        if values:
            self._log(self._step, values)

    def close(self, state: str) -> None:
        """End the stream; `state` as for `Sink.close`."""
        self._each(lambda sink: sink.close(state))

    @property
    def _step(self) -> int:
        assert self._training is not None
        return self._first_step + self._training.step

    def _rates(self, now: float, activity: Activity) -> dict[str, float]:
        seconds = now - self._counted_at
        rates = {
            f"rate/{name}_per_second": (count - self._counts[name]) / seconds
            for name, count in activity.counts.items()
            if seconds > 0
        }
        self._counted_at, self._counts = now, activity.counts
        return {**rates, **activity.values}

    def _log(self, step: int, values: dict[str, float]) -> None:
        point = Point(step, time.time(), values)
        self._each(lambda sink: sink.log(point))

    def _each(self, call: Callable[[Sink], None]) -> None:
        for sink in [*self._sinks]:
            try:
                call(sink)
            except Exception as error:
                self._sinks.remove(sink)
                log.warning(f"{type(sink).__name__} gets no more metrics: {error}")


def _metrics(point: Mapping[str, float], *, with_figures: bool) -> dict[str, float]:
    """Return a point of a learning curve as metrics; figures of an update have a / in the name."""
    return {
        name if "/" in name else f"evaluation/{name.replace('-', '_')}": value
        for name, value in point.items()
        if name not in _NO_METRICS and (with_figures or "/" not in name)
    }
