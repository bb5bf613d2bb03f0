"""Buckets are created once; errors are one line."""

import pytest

from qc_core.store.make_buckets import main
from qc_core.store.open import open_store
from tests.test_imports import run_blocked


def test_missing_buckets_are_created_and_existing_ones_remain(
    s3_store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = s3_store.split("/")[2]
    open_store().put("kept", b"1")
    new = f"{there}-new"
    assert main([there, new]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{there}: already exists", f"{new}: created"]
    assert main([new]) == 0
    assert capsys.readouterr().out == f"{new}: already exists\n"
    assert open_store().get("kept") == b"1"
    monkeypatch.setenv("QC_STORE", f"s3://{new}/prefix")
    open_store().require_writable()


def test_a_failure_is_one_line_and_an_exit_code(
    s3_store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["No_Bucket"]) == 2
    assert "No_Bucket" in capsys.readouterr().err
    monkeypatch.setenv("QC_S3_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("QC_S3_TIMEOUT", "0.3")
    assert main(["bucket"]) == 1
    error = capsys.readouterr().err
    assert "does not answer" in error and error.count("\n") == 1


def test_make_buckets_needs_no_training_packages() -> None:
    blocked = {"torch", "gymnasium", "optuna", "kfp", "ogbench", "mujoco", "tyro", "tqdm", "onnx"}
    run_blocked(blocked, "import qc_core.store.make_buckets")
