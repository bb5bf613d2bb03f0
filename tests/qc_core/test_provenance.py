"""Artifacts name the code and the run that produced them."""

import pytest

from qc_core.provenance import git_commit, run_id, versions


def test_the_run_id_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_id() is None
    monkeypatch.setenv("QC_RUN", "old")
    assert run_id() == "old"
    monkeypatch.setenv("QC_RUN_ID", "new")
    assert run_id() == "new"


def test_the_commit_of_the_image_has_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QC_GIT_COMMIT", "abc")
    assert git_commit() == "abc"


def test_versions_of_installed_packages() -> None:
    assert {"numpy", "torch"} <= set(versions())
