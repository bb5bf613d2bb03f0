"""The outputs of finished steps: `runs/RUN/results/STEP.json` in the store says where they are.

A run that continues another one copies them instead of computing them again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from qc_core import documents
from qc_core.config.differences import changed_options
from qc_core.documents import Document, InvalidDocument
from qc_core.errors import QCError, RunError, UsageError
from qc_core.files import staged_file, staged_folder
from qc_core.log import log
from qc_core.results.run_objects import read_document, run_key
from qc_core.results.run_record import read_record
from qc_core.store.local_store import FolderStore
from qc_core.store.objects import NoSuchObject, ObjectStore

# KFP names the same bucket with either scheme.
_S3_SCHEMES = ("s3", "minio")


class Artifact(Protocol):
    """An output of a step.

    Attributes:
        path: where the step writes it.
        uri: where it is after the step: a path of this machine, or an address in a bucket.
    """

    @property
    def path(self) -> str: ...

    @property
    def uri(self) -> str: ...


class StoredOutput(Document, frozen=True, kw_only=True):
    """An output of a finished step.

    Attributes:
        files: size in bytes by relative path; of an output that is one file, the path is '.'.
    """

    uri: str
    files: dict[str, int]

    def __post_init__(self) -> None:
        for name in self.files:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise InvalidDocument(f"{name[:50]!r} is not a relative path")


class StepResult(Document, frozen=True, kw_only=True):
    """`runs/RUN/results/STEP.json`.

    Attributes:
        depends_on: what the outputs depend on, besides data and training: settings by name, and
            digests of inputs.
        outputs: by name.
    """

    depends_on: dict[str, Any]
    outputs: dict[str, StoredOutput]
    schema_version: int = 1


def compute_once(
    store: ObjectStore,
    run_id: str,
    step: str,
    depends_on: Mapping[str, Any],
    outputs: Mapping[str, Artifact],
    compute: Callable[[], object],
) -> None:
    """Compute the outputs of a step, or copy them from the run that this one continues.

    Args:
        depends_on: as in `StepResult`; an earlier result must have the same.
        compute: writes all outputs.

    Raises:
        QCError: as `compute`, and if the store or an earlier output cannot be read.
    """
    if not _take_over(store, run_id, step, depends_on, outputs):
        compute()
    result = StepResult(
        depends_on=documents.plain(dict(depends_on)),
        outputs={name: _describe(artifact) for name, artifact in outputs.items()},
    )
    try:
        store.put(_key(run_id, step), documents.encode(result))
    except QCError as error:
        # The outputs are worth more than the note of where they are.
        log.info(f"a later run cannot take over the result of {step}: {error}")


def _take_over(
    store: ObjectStore,
    run_id: str,
    step: str,
    depends_on: Mapping[str, Any],
    outputs: Mapping[str, Artifact],
) -> bool:
    """Copy the outputs of the earlier run's step, and return whether that was possible."""
    found = _earlier_result(store, run_id, step)
    if found is None:
        return False
    earlier_id, earlier = found
    if changed := changed_options(earlier.depends_on, documents.plain(dict(depends_on))):
        names = ", ".join(option.partition(" ")[0].removeprefix("--") for option in changed)
        log.info(f"{step} is computed again, run {earlier_id} had other values of: {names}")
        return False
    for stored in earlier.outputs.values():
        if missing := _missing_files(stored):
            log.info(
                f"{step} is computed again, its result in run {earlier_id} is not complete: "
                f"{missing} is missing in {stored.uri}"
            )
            return False
    for name, artifact in outputs.items():
        _copy(earlier.outputs[name], Path(artifact.path))
    log.info(f"{step} is taken over from run {earlier_id}: nothing is computed")
    return True


def _earlier_result(store: ObjectStore, run_id: str, step: str) -> tuple[str, StepResult] | None:
    """Return the newest result of a step in the runs that this one continues, and its run."""
    record = read_record(store, run_id)
    while record is not None and record.continues:
        found = read_document(store, _key(record.continues, step), StepResult)
        if found is not None:
            return record.continues, found
        record = read_record(store, record.continues)
    return None


def _describe(artifact: Artifact) -> StoredOutput:
    path = Path(artifact.path)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return StoredOutput(
        uri=artifact.uri,
        files={file.relative_to(path).as_posix(): file.stat().st_size for file in files},
    )


def _missing_files(stored: StoredOutput) -> str:
    """Return a file of an output that does not exist, or ''.

    Files appear complete or not at all, but a step may end before all of them are stored.
    """
    place, name = _locate(stored.uri)
    found = set(place.keys("" if "." in stored.files else f"{name}/"))
    wanted = {_key_of(name, file): file for file in stored.files}
    return next((wanted[key] for key in sorted(wanted.keys() - found)), "")


def _copy(stored: StoredOutput, target: Path) -> None:
    """Copy an output to a new file or folder (RunError: it is damaged)."""
    place, name = _locate(stored.uri)
    if "." in stored.files:
        with staged_file(target) as staging:
            _fetch(place, name, stored.files["."], staging)
        return
    with staged_folder(target) as staging:
        for file, size in stored.files.items():
            path = staging / file
            path.parent.mkdir(parents=True, exist_ok=True)
            _fetch(place, _key_of(name, file), size, path)


def _fetch(place: ObjectStore, key: str, size: int, target: Path) -> None:
    try:
        place.get_file(key, target)
    except NoSuchObject as error:
        raise RunError(f"{key} in {place.describe()} was deleted while it was read") from error
    if (got := target.stat().st_size) != size:
        raise RunError(
            f"{key} in {place.describe()} is damaged: it has {got:,} bytes instead of {size:,}; "
            "start a new run"
        )


def _locate(uri: str) -> tuple[ObjectStore, str]:
    """Return the store of an output, and its key there (UsageError: another kind of store)."""
    scheme, _, rest = uri.partition("://")
    if not rest:
        path = Path(uri)
        return FolderStore(path.parent), path.name
    if scheme not in _S3_SCHEMES:
        raise UsageError(f"{uri} is in a store that this run cannot read: start a new run")
    from qc_core.store.s3 import S3Store

    parent, _, name = rest.partition("?")[0].rstrip("/").rpartition("/")
    return S3Store(f"s3://{parent}"), name


def _key_of(name: str, file: str) -> str:
    return name if file == "." else f"{name}/{file}"


def _key(run_id: str, step: str) -> str:
    return run_key(run_id, f"results/{step}.json")
