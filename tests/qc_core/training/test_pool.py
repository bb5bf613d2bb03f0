"""Processes that train side by side share the cores, and are forked unless they use a GPU."""

import os

import pytest
import torch

from qc_core.training.pool import training_pool


@pytest.mark.parametrize(("device", "is_forked"), [("cpu", True), ("", False)])
def test_processes_share_the_cores_and_a_gpu_is_not_forked(
    device: str, is_forked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("QC_DEVICE", device)
    monkeypatch.setenv("QC_THREADS", "4")
    with training_pool(2, fewer="--tune.workers") as pool:
        assert pool.submit(torch.get_num_threads).result() == 2
        assert (pool.submit(os.getppid).result() != os.getpid()) == is_forked
    assert os.environ["QC_THREADS"] == "4"
