"""Counts of a server in the text format of Prometheus."""

from __future__ import annotations

import bisect
import threading
from collections import Counter

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Upper bounds in seconds: an inference takes 0.1 ms to 100 ms.
_BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)


class Metrics:
    """What a server of one policy has done since it started.

    Args:
        model, version: labels of every metric.
    """

    def __init__(self, model: str, version: str) -> None:
        self._labels = f'model="{_escaped(model)}",version="{_escaped(version)}"'
        self._lock = threading.Lock()
        self._responses: Counter[int] = Counter()
        self._in_bucket = [0] * (len(_BOUNDS) + 1)
        self._seconds, self._observations = 0.0, 0

    def count_response(self, status: int) -> None:
        """Count a response by its HTTP status."""
        with self._lock:
            self._responses[status] += 1

    def count_inference(self, observations: int, seconds: float) -> None:
        """Count a request for chunks, with the time from its arrival to its result."""
        with self._lock:
            self._in_bucket[bisect.bisect_left(_BOUNDS, seconds)] += 1
            self._seconds += seconds
            self._observations += observations

    def text(self, connections: int, replaced: int) -> str:
        """Return all metrics.

        Args:
            connections: open connections.
            replaced: connections that were closed to make room for others.
        """
        labels = self._labels
        with self._lock:
            lines = _head("qc_policy_info", "gauge", "The policy that is served.")
            lines.append(f"qc_policy_info{{{labels}}} 1")
            lines += _head("qc_responses_total", "counter", "Responses by HTTP status.")
            lines += [
                f'qc_responses_total{{{labels},status="{status}"}} {count}'
                for status, count in sorted(self._responses.items())
            ]
            lines += _head("qc_observations_total", "counter", "Observations with an answer.")
            lines.append(f"qc_observations_total{{{labels}}} {self._observations}")
            name = "qc_inference_seconds"
            lines += _head(name, "histogram", "Time from a complete request to its chunks.")
            total = 0
            for bound, count in zip((*_BOUNDS, "+Inf"), self._in_bucket, strict=True):
                total += count
                lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {total}')
            lines += [
                f"{name}_sum{{{labels}}} {self._seconds:.9g}",
                f"{name}_count{{{labels}}} {total}",
            ]
        lines += _head("qc_connections", "gauge", "Open connections.")
        lines.append(f"qc_connections{{{labels}}} {connections}")
        lines += _head("qc_connections_replaced_total", "counter", "Connections closed for others.")
        lines.append(f"qc_connections_replaced_total{{{labels}}} {replaced}")
        return "\n".join([*lines, ""])


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _escaped(label: str) -> str:
    printable = label.encode(errors="replace").decode()
    return printable.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
