"""Small HDF5 files that would never end or fill the memory are refused."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from qc_core.data.formats.hdf5_check import require_harmless
from qc_core.errors import UsageError


def ordinary(file: h5py.File) -> None:
    for number in range(3):
        demo = file.create_group(f"data/demo_{number}")
        demo.create_dataset("actions", data=np.zeros((10, 7), "f4"), compression="gzip")
        demo["obs/object"] = np.zeros((10, 14))
    file["mask/train"] = [b"demo_0"]


def looped(file: h5py.File) -> None:
    infos = file.create_group("data/episode_0/infos")
    infos["a"] = infos["b"] = file["data"]


def shared(file: h5py.File) -> None:
    for number in range(10, 200):
        file[f"data/demo_{number}"] = file["data/demo_0"]


def empty(file: h5py.File) -> None:
    file.create_dataset("huge", (10**12, 7), "f4", chunks=(1000, 7))


def many_empty(file: h5py.File) -> None:
    for number in range(20):
        file.create_dataset(f"large_{number}", (10**6, 7), "f4", chunks=(1000, 7))


def external(file: h5py.File) -> None:
    file.create_dataset("data/external", (10,), "u1", external=[("/etc/hostname", 0, 10)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((10,), "u1")
    layout[:] = h5py.VirtualSource("/etc/hostname.hdf5", "data", (10,))
    file.create_virtual_dataset("data/virtual", layout)


def soft(file: h5py.File) -> None:
    file["data/soft"] = h5py.SoftLink("/data")


def outside(file: h5py.File) -> None:
    file["data/outside"] = h5py.ExternalLink("/etc/hostname.hdf5", "/data")


def check(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "w") as file:
        ordinary(file)
        change(file)
    with h5py.File(path, "r") as file:
        require_harmless(path, file, follows_links=True)


def test_an_ordinary_file_is_accepted(tmp_path: Path) -> None:
    check(tmp_path / "file.hdf5", lambda file: None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (looped, "several links"),
        (shared, "several links"),
        (empty, r"/huge: the arrays need 28,000,000 MB or more \(limit 268 MB"),
        (many_empty, "the arrays need 280 MB or more"),
        (external, "/data/external is in another file"),
        (virtual, "/data/virtual is in another file"),
        (soft, "/data/soft is a link, which is not followed"),
        (outside, "/data/outside is a link, which is not followed"),
    ],
)
def test_a_hostile_file_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[h5py.File], None], says: str
) -> None:
    with pytest.raises(UsageError, match=says) as refusal:
        check(tmp_path / "file.hdf5", change)
    assert "\n" not in str(refusal.value) and (tmp_path / "file.hdf5").stat().st_size < 200_000
