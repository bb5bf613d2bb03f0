"""What killed processes leave is removed, and nothing else."""

import os
import time
from pathlib import Path

import pytest

from qc_core.cli.main import main
from qc_core.files import staged_folder, write_atomically
from qc_core.scratch import remove_leftovers, temporary_folder, try_lock

OLD = time.time() - 3600


def leftover(path: Path) -> Path:
    """Make a file, or a folder with a file, as a killed process leaves it."""
    target = path if path.suffix else path / "content"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"half")
    os.utime(path, (OLD, OLD))
    return path


def test_the_next_command_in_a_folder_removes_what_killed_ones_left(tmp_path: Path) -> None:
    for folder, use in (
        ("a", staged_folder),
        ("b", lambda path: temporary_folder(path.parent, "x")),
    ):
        parent = tmp_path / folder
        left = leftover(parent / ".checkpoint.qc-0123abcd")
        with use(parent / "other"):
            assert not left.exists()
    left = leftover(tmp_path / "c" / ".alias.qc-0123abcd.json")
    write_atomically(tmp_path / "c" / "other.json", b"{}")
    assert [path.name for path in left.parent.iterdir()] == ["other.json"]


def test_temporary_files_of_running_processes_and_other_files_stay(tmp_path: Path) -> None:
    with temporary_folder(tmp_path, ".checkpoint.qc-") as running:
        os.utime(running, (OLD, OLD))
        recent = tmp_path / "q-chunking-trial-0123abcd"
        recent.mkdir()
        for name in (".notes.0123abcd", "qc-trial-0123abcd", ".git", "checkpoint.qc-0123abcd"):
            leftover(tmp_path / name)
        link = tmp_path / ".link.qc-0123abcd"
        link.symlink_to(tmp_path / ".git")
        before = set(tmp_path.iterdir())
        assert remove_leftovers(tmp_path) == []
        assert set(tmp_path.iterdir()) == before
    assert remove_leftovers(tmp_path) == []


def test_a_lock_is_held_until_its_process_closes_it(tmp_path: Path) -> None:
    left = leftover(tmp_path / ".checkpoint.qc-0123abcd")
    lock = try_lock(left)
    assert lock is not None and remove_leftovers(tmp_path) == []
    os.close(lock)
    assert remove_leftovers(tmp_path) == [left]


def test_clean_removes_leftovers_of_every_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "system"))
    places = [
        leftover(tmp_path / "system" / "q-chunking-trial-0123abcd"),
        leftover(tmp_path / "cache" / "q-chunking" / "policies" / "cube" / ".1.qc-0123abcd"),
        leftover(tmp_path / "store" / "policies" / "cube" / "aliases" / ".latest.qc-0123abcd.json"),
        leftover(tmp_path / "runs" / "one" / "steps" / ".offline.qc-0123abcd"),
        leftover(tmp_path / ".data.qc-0123abcd"),
    ]
    elsewhere = leftover(tmp_path / "mine" / "deep" / ".data.qc-0123abcd")
    assert main(["clean"]) == 0
    assert not any(path.exists() for path in places) and elsewhere.exists()
    assert len(capsys.readouterr().out.splitlines()) == len(places)
    assert main(["clean", "mine"]) == 0
    assert not elsewhere.exists()
    assert main(["clean"]) == 0
    assert "nothing to remove" in capsys.readouterr().out.splitlines()[-1]
    assert main(["clean", "nowhere"]) == 2
