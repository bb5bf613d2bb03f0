"""Runs one step of a pipeline and reports its error to the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from qc_core.errors import QCError
from qc_core.log import log
from qc_core.notify.failures import clear_failure, record_failure
from qc_core.notify.run_status import correct_failed_status
from qc_core.progress import step
from qc_core.results.step_cost import recording_cost
from qc_core.store.open import open_store


@contextmanager
def run_step(name: str, description: str, run_id: str, worker: str = "") -> Iterator[None]:
    """Run a step of a pipeline: as `progress.step`, and leave its error in the store.

    Args:
        worker: tells parallel tasks of one step apart.

    Raises:
        SystemExit: as `progress.step`.
    """
    part = f"{name}-{worker}" if worker else name
    with step(name, description):
        try:
            with recording_cost(run_id, name, worker):
                yield
        except Exception as error:
            text = str(error) if isinstance(error, QCError) else f"{type(error).__name__}: {error}"
            try:
                store = open_store()
                record_failure(store, run_id, name, part, text)
                correct_failed_status(store, run_id, name)
            except QCError as failure:
                # The step's own error is the one to report.
                log.info(f"the error is not in the store: {failure}")
            raise
        with suppress(QCError):
            clear_failure(open_store(), run_id, part)
