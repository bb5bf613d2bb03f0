"""Folders and files are complete or absent."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from qc_core.errors import RunError, UsageError
from qc_core.files import (
    Unwritable,
    read_json,
    require_file_place,
    require_new_file,
    require_space,
    require_vacant,
    sha256_of,
    staged_file,
    staged_folder,
    write_atomically,
)

PLACES = (require_vacant, require_file_place, require_new_file)


def test_a_staged_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with staged_folder(target) as staging:
        (staging / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"
    assert list(target.parent.iterdir()) == [target]


def test_impossible_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name in ("loop", "nul\0"):
        with pytest.raises(UsageError, match="cannot write to"), staged_folder(tmp_path / name):
            pass


@pytest.mark.parametrize("require", PLACES)
def test_a_path_below_a_file_is_refused_and_nothing_is_created(
    tmp_path: Path, require: Callable[[Path], None]
) -> None:
    (tmp_path / "plain").touch()
    require(tmp_path / "new" / "folder" / "x")
    for name in ("plain/x", "plain/deeper/x", "new/../plain/x"):
        with pytest.raises(UsageError, match="plain is not a folder"):
            require(tmp_path / name)
    for name in ("x" * 300 + "/y", "nul\0/y"):
        with pytest.raises(UsageError, match="cannot write to") as refusal:
            require(tmp_path / name)
        assert len(str(refusal.value)) < 300
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


@pytest.mark.parametrize("require", PLACES)
def test_a_path_in_an_unwritable_folder_is_refused(
    require: Callable[[Path], None],
) -> None:
    # Not even by root.
    for name in ("/proc/x", "/proc/deeper/x"):
        with pytest.raises(UsageError, match="cannot write to /proc: "):
            require(Path(name))


def test_a_folder_is_refused_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    require_file_place(tmp_path / "file")
    with pytest.raises(UsageError, match="file is in use"):
        require_new_file(tmp_path / "file")
    for require in (require_file_place, require_new_file):
        with pytest.raises(UsageError, match="folder is not a file: choose another"):
            require(tmp_path / "folder")


def test_unwritable_files_are_reported_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write to .*xxx: File name too long") as refusal:
        write_atomically(tmp_path / ("x" * 300), b"")
    assert isinstance(refusal.value, OSError)
    # A worker process pickles errors.
    again = pickle.loads(pickle.dumps(refusal.value))
    assert type(again) is Unwritable and str(again) == str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe is not a file"):
        read_json(tmp_path / "pipe")


def test_a_device_or_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "device")
    (tmp_path / "folder").mkdir()
    for name in ("device", "folder"):
        with pytest.raises(UsageError, match=f"{name} is not a file"):
            write_atomically(tmp_path / name, b"")
    assert (tmp_path / "device").is_fifo()


def test_an_error_leaves_no_files(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staged_folder(tmp_path / "b") as staging:
        (staging / "file").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_is_one_line_and_leaves_no_files(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match="has no room left") as refusal,
        staged_folder(tmp_path / "b") as staging,
    ):
        (staging / "file").write_text("x")
        Path("/dev/full").write_bytes(b"x")
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_leaves_no_staged_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has no room left"), staged_file(tmp_path / "b"):
        Path("/dev/full").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []


def test_require_space(tmp_path: Path) -> None:
    require_space(tmp_path, 1)
    with pytest.raises(RunError, match=r"has room for .* MB, 1,000,000,000,000 MB are needed"):
        require_space(tmp_path, 10**18)


def test_a_folder_in_use_is_refused_and_unchanged(tmp_path: Path) -> None:
    target = tmp_path / "b"
    target.mkdir()
    (target / "precious").write_text("x")
    with pytest.raises(UsageError, match="is in use"), staged_folder(target):
        pass
    assert (target / "precious").read_text() == "x"


def test_an_empty_folder_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with staged_folder(tmp_path / "b") as staging:
        (staging / "file").write_text("x")
    assert (tmp_path / "b" / "file").exists()


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_synced_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _: named.append((tmp_path / "file").exists()))
    write_atomically(tmp_path / "file", b"x")
    assert named == [False]


@pytest.mark.parametrize("content", ["{", "[" * 100_000])
def test_invalid_json_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UsageError, match=r"x\.json is not readable JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(UsageError, match=r"y\.json does not exist"):
        read_json(tmp_path / "y.json")


@pytest.mark.parametrize("read", [read_json, sha256_of])
def test_unreadable_files_are_one_line(
    tmp_path: Path, forbid: Callable[[Path], None], read: Callable[[Path], object]
) -> None:
    with pytest.raises(UsageError, match=r"^x{200} cannot be read \(File name too long\)"):
        read(Path("x" * 5000))
    (tmp_path / "x").touch()
    forbid(tmp_path / "x")
    with pytest.raises(RunError, match=r"x cannot be read \(Permission denied\): check"):
        read(tmp_path / "x")
