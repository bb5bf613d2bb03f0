"""Sources in object storage: `s3://bucket/path`, and files that `--upload` put into the store."""

from __future__ import annotations

from pathlib import Path

from qc_core.errors import UsageError
from qc_core.files import sha256_of
from qc_core.log import log
from qc_core.names import is_name
from qc_core.store.objects import NoSuchObject, ObjectStore
from qc_core.store.open import open_store

# Files of `--upload` in the store: data/DIGEST/NAME, or data/DIGEST/NAME/… for a folder.
_PREFIX = "store:"
_FOLDER = "data/"
_COMPLETE = "complete"


def is_remote(source: str) -> bool:
    """Whether a value of `--data` names an object or a folder of objects."""
    return source.startswith(("s3://", f"{_PREFIX}{_FOLDER}"))


def require_remote(source: str) -> None:
    """Raise UsageError unless a remote source exists."""
    store, name = _locate(source)
    _keys(store, name, source)


def fetch_remote(source: str, folder: Path) -> Path:
    """Download a remote source into a folder and return its local path.

    Raises:
        UsageError: it does not exist.
        RunError: the store does not answer.
    """
    store, name = _locate(source)
    target = folder / Path(name).name
    keys = _keys(store, name, source)
    log.info(f"downloading {len(keys)} objects of {source}")
    for key in keys:
        path = target / key.removeprefix(f"{name}/") if key != name else target
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{source} contains an object with a path outside of it: {key[:100]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            store.get_file(key, path)
        except NoSuchObject as error:
            raise _missing(source) from error
    return target


def upload_source(path: Path, store: ObjectStore) -> str:
    """Put a file or folder into the store under its digest, and return its name for `--data`.

    Nothing is sent if the store has the same content already.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = _digest(path, files)
    name = path.name if is_name(path.name) else f"source{path.suffix.lower()}"
    base = f"{_FOLDER}{digest}/{name}"
    marker = f"{_FOLDER}{digest}/{_COMPLETE}"
    try:
        store.get(marker)
        log.info(f"{path} is in {store.describe()} already")
    except NoSuchObject:
        for file in files:
            store.put_file(base if file == path else f"{base}/{file.relative_to(path)}", file)
        # An interrupted upload has no marker, and is repeated.
        store.put(marker, b"")
        log.info(f"{path} is now in {store.describe()}: {base}")
    return f"{_PREFIX}{base}"


def _digest(path: Path, files: list[Path]) -> str:
    if files == [path]:
        return sha256_of(path)
    import hashlib

    lines = [f"{sha256_of(file)}  {file.relative_to(path)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _locate(source: str) -> tuple[ObjectStore, str]:
    """Return a store, and the key of the source in it."""
    if source.startswith(_PREFIX):
        return open_store(), source.removeprefix(_PREFIX).rstrip("/")
    from qc_core.store.s3 import S3Store
    from qc_core.store.s3_client import DATA

    parent, _, name = source.rstrip("/").rpartition("/")
    if not name or parent in ("s3:", "s3:/"):
        raise UsageError(f"--data must be s3://bucket/path, got {source}")
    return S3Store(parent, DATA), name


def _keys(store: ObjectStore, name: str, source: str) -> list[str]:
    """Return the keys of a folder, or that of an object (UsageError: there is neither)."""
    keys = [key for key in store.keys(f"{name}/") if not key.endswith("/")]
    if keys:
        return keys
    parent, _, _ = name.rpartition("/")
    listed = store.keys(f"{parent}/" if parent else "")
    if name not in listed:
        raise _missing(source)
    return [name]


def _missing(source: str) -> UsageError:
    return UsageError(f"{source} does not exist in the object store")
