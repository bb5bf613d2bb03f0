"""The folder of a local run: which command it belongs to, and which of its steps have finished."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from qc_core import documents
from qc_core.config.differences import changed_options
from qc_core.config.document import to_mapping
from qc_core.config.settings import Config
from qc_core.documents import Document, plain
from qc_core.errors import UsageError
from qc_core.files import read_json, require_vacant, staged_file
from qc_core.scratch import try_lock
from qc_core.timestamps import new_stamp

RUN, LOG, SUMMARY, STEPS = "run.json", "run.log", "summary.json", "steps"
JOURNAL = "study.journal"
# kfp.local records the outputs of finished steps here.
CACHE = ".kfp_cache"
RUNS = Path("runs")


class LocalRun(Document, frozen=True, kw_only=True):
    """`run.json`: what a run was asked to do, so that the same command resumes it.

    Attributes:
        config: the resolved configuration.
        store: address of the store that the policy is published in.
        seconds: wall-clock time per finished step, and `all`, of the processes before this one.
        continues: run id of the run that this one continues; empty for a run of its own.
        run_id: name of the run in the store.
    """

    config: dict[str, Any]
    store: str
    continues: str = ""
    seconds: dict[str, float] = msgspec.field(default_factory=dict)
    run_id: str = msgspec.field(default_factory=lambda: new_stamp().lower())
    schema_version: int = 1

    def is_same_request(self, other: LocalRun) -> bool:
        return (self.config, self.store, self.continues) == (
            other.config,
            other.store,
            other.continues,
        )


def request_of(config: Config, store: str, earlier: Path | None = None) -> LocalRun:
    """Return the document of a run that has not started.

    Args:
        earlier: folder of a run that it continues.

    Raises:
        UsageError: the folder has no run, it is in progress, or it used another store.
    """
    request = LocalRun(config=plain(to_mapping(config)), store=store)
    if earlier is None:
        return request
    run = documents.read(earlier / RUN, LocalRun)
    if is_running(earlier):
        raise UsageError(f"the run in {earlier} is in progress: wait until it has ended")
    if run.store != store:
        raise UsageError(f"the run in {earlier} used the store {run.store}: set QC_STORE to it")
    return msgspec.structs.replace(request, continues=run.run_id)


def default_folder(request: LocalRun, name: str, *, fresh: bool) -> Path:
    """Return ./runs/ID-NAME: of the newest unfinished run of this command, or a new folder.

    Args:
        name: of the policy.
        fresh: always return a new folder.
    """
    if not fresh:
        for path in sorted(RUNS.glob(f"*-{name}/{RUN}"), reverse=True):
            folder = path.parent
            is_same = documents.read(path, LocalRun).is_same_request(request)
            if is_same and not (folder / SUMMARY).exists() and not is_running(folder):
                return folder
    RUNS.mkdir(exist_ok=True)
    folder = RUNS / f"{request.run_id}-{name}"
    folder.mkdir()
    return folder


def start_or_resume(folder: Path, request: LocalRun, *, fresh: bool) -> LocalRun:
    """Prepare a folder for a run; the caller must hold the folder's lock.

    Args:
        fresh: delete an earlier run in the folder.

    Returns:
        The document of the run so far.

    Raises:
        UsageError: the folder has other contents, or a run of another command.
    """
    path = folder / RUN
    if fresh and path.exists():
        clear(folder)
    if not path.exists():
        # A run that was refused before it did anything leaves its log.
        (folder / LOG).unlink(missing_ok=True)
        require_vacant(folder)
        documents.write(path, request)
        return request
    run = documents.read(path, LocalRun)
    if run.is_same_request(request):
        return run
    changed = changed_options(run.config, request.config)
    was = f"was started with {', '.join(changed)}"
    if not changed and run.continues != request.continues:
        was = f"was started with another --continue (run {run.continues or 'none'})"
    elif not changed:
        was = f"was started with the store {run.store}"
    raise UsageError(f"{folder} {was}: give the same to resume, or --fresh to start over")


def copy_study(earlier: Path, folder: Path) -> None:
    """Copy the tuning study of an earlier run, with its checkpoints, unless that is done."""
    journal = folder / JOURNAL
    if journal.exists() or not (earlier / JOURNAL).exists():
        return
    trials = f"{JOURNAL}.trials"
    if (earlier / trials).exists():
        shutil.rmtree(folder / trials, ignore_errors=True)
        shutil.copytree(earlier / trials, folder / trials)
    with staged_file(journal) as staging:
        shutil.copyfile(earlier / JOURNAL, staging)


def clear(folder: Path) -> None:
    """Delete the contents of a folder except its log."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOG:
            path.unlink()


def finished_steps(folder: Path) -> list[str]:
    """Return the steps whose outputs are complete, and delete what other steps have left."""
    steps = folder.resolve() / STEPS
    outputs = [
        artifact
        for path in (steps / CACHE).glob("*.json")
        for artifact in read_json(path).values()
        if isinstance(artifact, dict) and "uri" in artifact
    ]
    finished = {Path(artifact["uri"]).parent for artifact in outputs}
    for path in steps.glob("*/*"):
        is_used = any(path == step or path in step.parents for step in finished)
        if path.parent.name != CACHE and not is_used:
            shutil.rmtree(path)
    return sorted({step.name for step in finished if step.exists()})


def is_running(folder: Path) -> bool:
    """Return whether a process works in a run folder."""
    lock = try_lock(folder)
    if lock is not None:
        os.close(lock)
    return lock is None
