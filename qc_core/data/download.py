"""Fetch OGBench's official files, resuming what broke off and checking what arrived."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import zipfile
import zlib
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from qc_core.errors import WorkFailed, WrongUse
from qc_core.progress import Progress

# Each retry would be a line of its own before the one that says what is wrong.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

_BLOCK = 1 << 20
_TIMEOUT = urllib3.Timeout(connect=10, read=60)
_RETRIES = urllib3.Retry(3, backoff_factor=0.5, status_forcelist=(500, 502, 503, 504))


class NotOnServer(WorkFailed):
    """The server answers and has no such file."""


def official_name(environment: str) -> str:
    """Name of the official data set behind a single-task environment.

    `cube-single-singletask-task1-v0` → `cube-single-play-v0`; mazes have `navigate`.
    """
    match = re.fullmatch(r"(.+?)-singletask(?:-task\d)?-(v\d+)", environment)
    if not match:
        raise WrongUse(f"{environment} has no official data set: give one with --data PATH")
    family, version = match.groups()
    kind = "navigate" if re.search("maze|soccer", family) else "play"
    return f"{family}-{kind}-{version}"


def fetch_official(environment: str) -> Path:
    """The official npz of an environment, downloaded once, its `-val` file beside it."""
    from ogbench.utils import DATASET_URL, DEFAULT_DATASET_DIR

    name = official_name(environment)
    folder = Path(DEFAULT_DATASET_DIR).expanduser()
    with contextlib.suppress(NotOnServer):
        # Not every data set comes with held-out episodes.
        fetch(f"{DATASET_URL}/{name}-val.npz", folder / f"{name}-val.npz")
    return fetch(f"{DATASET_URL}/{name}.npz", folder / f"{name}.npz")


def fetch(url: str, target: Path) -> Path:
    """Download an npz file to `target` unless it is there already.

    What arrived before a break stays in `target`.part and is continued. The file takes its
    name only when it has its announced length and every array's checksum is right.

    Raises:
        WorkFailed: the server cannot be reached, refuses, or sends something else.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    most = -1
    while True:
        most = max(most, _size(part))
        try:
            _download(url, part)
            break
        except urllib3.exceptions.HTTPError as error:
            # As long as each try brings more, the next one goes on behind it.
            if _size(part) <= most:
                raise WorkFailed(
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
        raise WorkFailed(f"{url} arrived damaged ({damaged}) and was thrown away: try again")
    os.replace(part, target)
    return target


def _download(url: str, part: Path) -> None:
    have = _size(part)
    # No compression on the way: lengths and ranges must be those of the file.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with _connections(url) as pool:
        response = pool.request("GET", url, headers=headers, preload_content=False)
        try:
            if response.status == 416:
                # Nothing is left to send: the part is the whole.
                return
            if response.status == 404:
                raise NotOnServer(f"{url} does not exist (404): give a data set with --data PATH")
            if response.status not in (200, 206):
                raise urllib3.exceptions.HTTPError(f"the server answered {response.status}")
            resumed = response.status == 206
            length = int(response.headers.get("Content-Length", 0))
            done = have if resumed else 0
            with (
                part.open("ab" if resumed else "wb") as file,
                Progress(done + length, f"fetching {part.stem}", "byte") as progress,
            ):
                progress.update(done)
                # read1 hands over what came before a break; read would drop it.
                while block := response.read1(_BLOCK):
                    file.write(block)
                    progress.update(len(block))
                    done += len(block)
            if length and done != (have if resumed else 0) + length:
                raise urllib3.exceptions.HTTPError("the connection broke off")
        finally:
            response.release_conn()


def _connections(url: str) -> urllib3.PoolManager:
    """Through the proxy of the environment where there is one, as other tools do."""
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
