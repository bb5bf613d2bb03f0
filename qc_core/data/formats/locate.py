"""Finds out which kind of data a source is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from qc_core.data.dataset.info import INFO_FILE
from qc_core.data.formats.claims import is_claim
from qc_core.data.formats.hdf5 import HDF5_MAGIC, HDF5_SUFFIXES
from qc_core.data.formats.lerobot import LEROBOT_INFO
from qc_core.data.formats.remote import is_remote
from qc_core.errors import UsageError
from qc_core.files import require_content

SourceKind = Literal[
    "collect",
    "ogbench",
    "minari",
    "store",
    "remote",
    "claim",
    "dataset",
    "lerobot",
    "npz",
    "robomimic",
]
# Episodes that robots and earlier runs have uploaded.
STORE_EPISODES = "store:episodes"

_ZIP_MAGIC = b"PK"


def kind_of(source: str) -> SourceKind:
    """Return the kind of a value of `--data`: a word, a word with a name (`word:NAME`), or a path.

    A path is identified by its content.

    Raises:
        UsageError: the path does not exist or its content is unknown.
    """
    if source == "collect":
        return "collect"
    if source == "ogbench" or source.startswith("ogbench:"):
        return "ogbench"
    if source.startswith("minari:"):
        return "minari"
    if is_remote(source):
        return "remote"
    if is_claim(source):
        return "claim"
    if source.startswith("store:"):
        if source != STORE_EPISODES:
            raise UsageError(f"--data takes {STORE_EPISODES} from the store, got {source}")
        return "store"
    path = Path(source)
    try:
        if path.is_dir():
            return _kind_of_folder(path)
        require_content(path)
        with path.open("rb") as file:
            start = file.read(len(HDF5_MAGIC))
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{source[:200]!r} cannot be the path of a dataset: {error}") from error
    if start == HDF5_MAGIC or path.suffix in HDF5_SUFFIXES:
        return "robomimic"
    if path.suffix != ".npz" and not start.startswith(_ZIP_MAGIC):
        raise UsageError(
            f"{path} is neither npz nor HDF5, and not a folder: write your episodes as npz "
            "(docs: File formats, Episodes)"
        )
    return "npz"


def name_in(source: str) -> str:
    """Return the part after the colon, '' without a colon."""
    return source.partition(":")[2]


def without_path(source: str) -> str:
    """Return the source with only the last name of a path, for use outside this machine."""
    return Path(source).name if is_path(source) else source


def is_path(source: str) -> bool:
    """Whether a value of `--data` is a path of this machine, which another one cannot see."""
    if source in ("collect", "ogbench", STORE_EPISODES):
        return False
    if is_remote(source) or is_claim(source):
        return False
    return not source.startswith(("ogbench:", "minari:"))


def _kind_of_folder(path: Path) -> SourceKind:
    if (path / INFO_FILE).exists():
        return "dataset"
    if (path / LEROBOT_INFO).exists():
        return "lerobot"
    if any(file.suffix in (".npz", *HDF5_SUFFIXES) for file in path.iterdir()):
        return "npz"
    raise UsageError(
        f"{path} is a folder without a {INFO_FILE}, a LeRobot {LEROBOT_INFO}, npz or HDF5 files"
    )
