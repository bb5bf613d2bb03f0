"""What kind of data a source is; of a path, its content tells."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from qc_core.data.dataset.dataset import MANIFEST
from qc_core.data.formats.lerobot import INFO
from qc_core.errors import UsageError
from qc_core.files import require_file

Kind = Literal["collect", "ogbench", "minari", "store", "data set", "lerobot", "npz", "robomimic"]
# What robots and earlier runs have uploaded.
STORED = "store:episodes"

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def kind_of(source: str) -> Kind:
    """What `--data` names: a word, a word with a name behind it, or a path.

    Raises:
        UsageError: nothing is at the path, or nothing that is known here.
    """
    if source == "collect":
        return "collect"
    if source == "ogbench" or source.startswith("ogbench:"):
        return "ogbench"
    if source.startswith("minari:"):
        return "minari"
    if source.startswith("store:"):
        if source != STORED:
            raise UsageError(f"of the store, --data takes {STORED}, got {source}")
        return "store"
    path = Path(source)
    try:
        if path.is_dir():
            return _kind_of_folder(path)
        require_file(path)
        with path.open("rb") as file:
            start = file.read(len(_HDF5_MAGIC))
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{source[:200]!r} cannot be the path of a data set: {error}") from error
    return "robomimic" if start == _HDF5_MAGIC or path.suffix in (".hdf5", ".h5") else "npz"


def name_after(source: str) -> str:
    """What stands behind the colon, '' without one."""
    return source.partition(":")[2]


def without_path(source: str) -> str:
    """The same source with only the last name of a path, to tell of it elsewhere."""
    words = ("collect", "ogbench", STORED)
    if source in words or source.startswith(("ogbench:", "minari:")):
        return source
    return Path(source).name


def _kind_of_folder(path: Path) -> Kind:
    if (path / MANIFEST).exists():
        return "data set"
    if (path / INFO).exists():
        return "lerobot"
    if any(path.glob("*.npz")):
        return "npz"
    raise UsageError(f"{path} is a folder without a {MANIFEST}, a LeRobot {INFO} or npz files")
