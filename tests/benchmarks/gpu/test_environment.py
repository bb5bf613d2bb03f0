"""The environment of the parts is complete, or the kit does not start."""

from pathlib import Path

import pytest

from benchmarks.gpu import environment


def test_missing_packages_are_named_before_anything_runs(tmp_path: Path) -> None:
    needed = tmp_path / "wheels.txt"
    needed.write_text("# comment\nNo_Such.Package==1.0\nabsent==2.0\n")
    with pytest.raises(SystemExit, match=r"missing packages: absent, no-such-package .*make "):
        environment.require_packages(needed, tmp_path)
    for name in ("absent-2.0", "no_such_package-1.0"):
        (tmp_path / f"{name}-py3-none-any.whl").touch()
    environment.require_packages(needed, tmp_path)


def test_source_digest_changes_with_the_code(tmp_path: Path) -> None:
    (tmp_path / "qc_core").mkdir()
    file = tmp_path / "qc_core" / "a.py"
    file.write_text("x = 1\n")
    before = environment.source_digest(tmp_path)
    assert before == environment.source_digest(tmp_path)
    file.write_text("x = 2\n")
    assert environment.source_digest(tmp_path) != before
    (tmp_path / "notes.md").touch()
    file.write_text("x = 1\n")
    assert environment.source_digest(tmp_path) == before
