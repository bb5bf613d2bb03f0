"""Streams the logs of a run's steps with kubectl, while they run."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable

from pipeline.cluster.kubectl import Kubectl
from qc_core.errors import QCError
from qc_core.log import printable

STEP_LABEL = "q-chunking/step"
_STARTED = ("Running", "Succeeded", "Failed")
# Seconds for the last lines of a pod that has ended.
_CLOSE_SECONDS = 10.0


class PodLogs:
    """Follows the container of each step of one run, once it has started.

    Args:
        write: called with one line, from several threads.
    """

    def __init__(self, kubectl: Kubectl, run_id: str, write: Callable[[str], None]) -> None:
        self._kubectl, self._run_id, self._write = kubectl, run_id, write
        self._streams: dict[str, tuple[subprocess.Popen[str], threading.Thread]] = {}
        self._failed = False

    def update(self) -> None:
        """Start to follow the pods that have started since the last call."""
        if self._failed:
            return
        try:
            for workflow in self._kubectl.list(
                "workflows.argoproj.io", f"--selector=pipeline/runid={self._run_id}"
            ):
                name = workflow["metadata"]["name"]
                selector = f"--selector=workflows.argoproj.io/workflow={name},{STEP_LABEL}"
                for pod in self._kubectl.list("pods", selector):
                    if pod.get("status", {}).get("phase") in _STARTED:
                        self._follow(pod["metadata"]["name"], pod["metadata"]["labels"][STEP_LABEL])
        except QCError as error:
            self._failed = True
            self._write(f"no logs: {error}")

    def close(self) -> None:
        """Wait for the last lines."""
        for process, thread in self._streams.values():
            thread.join(_CLOSE_SECONDS)
            process.terminate()
            process.wait()

    def _follow(self, pod: str, step: str) -> None:
        if pod in self._streams:
            return
        process = self._kubectl.stream("logs", "--follow", f"pod/{pod}", "--container=main")
        thread = threading.Thread(target=self._copy, args=(process, step), daemon=True)
        self._streams[pod] = process, thread
        thread.start()

    def _copy(self, process: subprocess.Popen[str], step: str) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._write(f"{step} | {printable(line.rstrip())}")
