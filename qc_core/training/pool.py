"""Worker processes that train side by side."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from contextlib import AbstractContextManager

import torch

from qc_core.cores import threads_per_worker
from qc_core.training.device import take_threads
from qc_core.worker_pool import worker_pool


def training_pool(
    workers: int, *, fewer: str, replace_killed: bool = False
) -> AbstractContextManager[Executor]:
    """A `worker_pool` whose processes share this process's cores equally.

    On a CPU they are forked from the server of `start_forked`, which has imported torch. Each
    starts another server for its environments. A process that uses a GPU imports everything
    itself: the server may have loaded the GPU's driver for a simulator, and a driver does not
    survive a fork.

    Args:
        fewer: the option that sets `workers`.
    """
    has_gpu = os.environ.get("QC_DEVICE") != "cpu" and torch.cuda.is_available()
    return worker_pool(
        workers,
        take_threads,
        threads_per_worker(workers),
        replace_killed=replace_killed,
        forked=not has_gpu,
        fewer=fewer,
    )
