"""Downloads OGBench's official files: resumes interrupted downloads and verifies checksums."""

from __future__ import annotations

import logging
import os
import re
import zipfile
import zlib
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from qc_core.errors import RunError, UsageError
from qc_core.files import writing_to
from qc_core.progress import Progress

# urllib3 would log each retry; the final error is one line.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

_BLOCK = 1 << 20
_TIMEOUT = urllib3.Timeout(connect=10, read=60)
_RETRIES = urllib3.Retry(3, backoff_factor=0.5, status_forcelist=(500, 502, 503, 504))


_OFFICIAL = re.compile(
    r"(?P<family>[a-z\d-]+)-(play|noisy|navigate|stitch|explore)(?P<size>-\d+[mb])?-v\d+"
)
_REMEDY = "give a dataset with --data PATH"


class NotOnServer(RunError):
    """The server answered that the file does not exist."""


def official_name(environment: str, name: str = "") -> str:
    """Return the name of an official dataset of a single-task environment.

    Args:
        name: for example `cube-double-noisy-v0` or `cube-double-play-100m-v0`. Empty for the
            default: `cube-single-singletask-task1-v0` → `cube-single-play-v0`; for mazes the
            `navigate` dataset.

    Raises:
        UsageError: the environment has no official data, or the name is of another environment.
    """
    match = re.fullmatch(r"(.+?)-singletask(?:-task\d)?-(v\d+)", environment)
    if not match:
        raise UsageError(f"{environment} has no official dataset: give one with --data PATH")
    family, version = match.groups()
    if not name:
        kind = "navigate" if re.search("maze|soccer", family) else "play"
        return f"{family}-{kind}-{version}"
    named = _OFFICIAL.fullmatch(name)
    if not named:
        raise UsageError(
            f"{name[:100]!r} is no official dataset: "
            f"it looks like {official_name(environment)} or {family}-play-100m-{version}"
        )
    if named["family"] != family:
        raise UsageError(
            f"{name} is not of {environment}: "
            f"give --environment {named['family']}-singletask-task1-{version} or other data"
        )
    return name


def fetch_official(name: str) -> Path:
    """Download an official dataset once, with its `-val` file, and return its path.

    A dataset of 100 million rows is a folder of shards, on the server and here.
    """
    from ogbench.utils import DATASET_URL, DEFAULT_DATASET_DIR

    folder = Path(DEFAULT_DATASET_DIR).expanduser()
    match = _OFFICIAL.fullmatch(name)
    if match is not None and match["size"]:
        stem = name.replace(match["size"], "")
        return fetch_shards(f"{DATASET_URL}/{name}", stem, folder / name)
    _fetch_if_exists(f"{DATASET_URL}/{name}-val.npz", folder)
    return fetch(f"{DATASET_URL}/{name}.npz", folder / f"{name}.npz")


def fetch_shards(url: str, stem: str, folder: Path) -> Path:
    """Download STEM-000.npz, STEM-001.npz, … with their `-val` files, up to the last one.

    Args:
        url: of the folder on the server.
        folder: target; complete files are not requested again.
    """
    complete = folder / ".complete"
    count = 0
    while not complete.exists():
        if _fetch_if_exists(f"{url}/{stem}-{count:03d}.npz", folder):
            _fetch_if_exists(f"{url}/{stem}-{count:03d}-val.npz", folder)
            count += 1
        elif count:
            complete.touch()
        else:
            raise NotOnServer(f"{url}/{stem}-000.npz does not exist (404): {_REMEDY}")
    return folder


def _fetch_if_exists(url: str, folder: Path) -> bool:
    """Download a file that may not exist on the server; return whether it does."""
    try:
        fetch(url, folder / url.rpartition("/")[2])
    except NotOnServer:
        return False
    return True


def fetch(url: str, target: Path) -> Path:
    """Download an npz file to `target` unless it exists.

    An interrupted download stays in `target`.part and is resumed. The file is renamed to `target`
    when it has the announced length and the checksum of every array is correct.

    Raises:
        RunError: the server cannot be reached, refuses, or sends a damaged file; or the disk is
            full.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    largest = -1
    while True:
        largest = max(largest, _size(part))
        try:
            with writing_to(target.parent):
                _download(url, part)
            break
        except urllib3.exceptions.HTTPError as error:
            # Try again as long as each attempt adds data.
            if _size(part) <= largest:
                raise RunError(
                    f"{url} cannot be fetched ({_reason(error)}): download it on a machine that "
                    "can, and give it with --data PATH"
                ) from error
    try:
        with zipfile.ZipFile(part) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError):
        damaged = "the file itself"
    if damaged:
        part.unlink()
        raise RunError(f"{url} arrived damaged ({damaged}) and was deleted: try again")
    os.replace(part, target)
    return target


def _download(url: str, part: Path) -> None:
    resume_at = _size(part)
    # No compression in transit: lengths and ranges must be those of the file.
    headers = {"Accept-Encoding": "identity"}
    if resume_at:
        headers["Range"] = f"bytes={resume_at}-"
    with _connections(url) as pool:
        response = pool.request("GET", url, headers=headers, preload_content=False)
        try:
            if response.status == 416:
                # The requested range is empty: the file is complete.
                return
            if response.status == 404:
                raise NotOnServer(f"{url} does not exist (404): {_REMEDY}")
            if response.status not in (200, 206):
                raise urllib3.exceptions.HTTPError(f"the server answered {response.status}")
            resumed = response.status == 206
            length = int(response.headers.get("Content-Length", 0))
            done = resume_at if resumed else 0
            with (
                part.open("ab" if resumed else "wb") as file,
                Progress(done + length, f"fetching {part.stem}", "byte") as progress,
            ):
                progress.update(done)
                # read1 returns what arrived before an interruption; read would drop it.
                while block := response.read1(_BLOCK):
                    file.write(block)
                    progress.update(len(block))
                    done += len(block)
            if length and done != (resume_at if resumed else 0) + length:
                raise urllib3.exceptions.HTTPError("the connection was interrupted")
        finally:
            response.release_conn()


def _connections(url: str) -> urllib3.PoolManager:
    """Return a connection pool that uses the proxy of the environment, if one is set."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, timeout=_TIMEOUT, retries=_RETRIES)
    return urllib3.PoolManager(timeout=_TIMEOUT, retries=_RETRIES)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    cause = getattr(error, "reason", None) or error
    return re.sub(r"^.*?>?: (?=\S)", "", str(cause)).strip() or type(cause).__name__
