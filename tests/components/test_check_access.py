"""The program of `qc cluster check --run` reports each access on a line of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.check_access import main


def test_each_access_is_tried_and_a_failure_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QC_STUDY_STORAGE", str(tmp_path / "study.journal"))
    assert main(["store", "study"]) == 0
    store, study = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert store[:2] == ["ok", "pod: store"] and "is writable" in store[2]
    assert study[:2] == ["ok", "pod: study"] and "has 0 studies" in study[2]
    monkeypatch.setenv("QC_STORE", "ftp://x")
    assert main(["store", "study"]) == 1
    first, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("WRONG\tpod: store\tUsageError: QC_STORE must be")
