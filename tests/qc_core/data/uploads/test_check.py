"""Files that are not complete episodes are refused with the problem, the limit and the value."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qc_core.config.settings import Config
from qc_core.data.uploads.check import UploadCheck, upload_check
from qc_core.errors import UsageError
from tests.conftest import ENVIRONMENT
from tests.qc_core.data.formats.test_ogbench_npz import play_file

Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return play_file(ENVIRONMENT, episodes=2, rows=11)


@pytest.fixture(scope="module")
def check() -> Iterator[UploadCheck]:
    with closing(upload_check(Config(environment=ENVIRONMENT), None)) as check:
        yield check


def changed(arrays: Arrays, name: str, row: int, value: float) -> Arrays:
    values = np.array(arrays[name], np.float32)
    values[row] = value
    return {**arrays, name: values}


BAD = {
    "not finite": (lambda a: changed(a, "observations", 3, np.nan), "NaN or infinity in row 3"),
    "out of bounds": (lambda a: changed(a, "actions", 3, 1.5), "0.5 outside"),
    "no flag": (lambda a: changed(a, "terminals", 3, 0.5), "must be 0 or 1"),
    "cut off": (lambda a: {n: v[:-1] for n, v in a.items()}, "10 rows follow the last end"),
    "one row": (lambda a: changed(a, "terminals", 11, 1), "at least two rows, one has 1"),
    "too long": (
        lambda a: {
            n: np.repeat(v[:1] if n == "terminals" else v, 3000, 0)[:3000] for n, v in a.items()
        },
        "has at most 201 rows",
    ),
    "no state": (lambda a: {n: v for n, v in a.items() if n != "qpos"}, "'qpos' is missing"),
    "another robot's": (
        lambda a: {**a, "observations": a["observations"][:, 1:]},
        "observations of 28 numbers, the file [27]",
    ),
}


def test_complete_episodes_are_counted(tmp_path: Path, check: UploadCheck, arrays: Arrays) -> None:
    np.savez(tmp_path / "good.npz", **arrays)
    assert check(tmp_path / "good.npz") == 2


def test_a_timeout_ends_an_episode(tmp_path: Path, check: UploadCheck, arrays: Arrays) -> None:
    first = np.arange(22) == 10
    marked = arrays | {"terminals": first, "timeouts": arrays["terminals"] & ~first}
    np.savez(tmp_path / "good.npz", **marked)
    assert check(tmp_path / "good.npz") == 2
    np.savez(tmp_path / "bad.npz", **{**marked, "timeouts": np.arange(22) == 11})
    with pytest.raises(UsageError, match="at least two rows, one has 1"):
        check(tmp_path / "bad.npz")


@pytest.mark.parametrize("kind", BAD)
def test_the_message_says_what_is_wrong(
    tmp_path: Path, check: UploadCheck, arrays: Arrays, kind: str
) -> None:
    spoil, message = BAD[kind]
    np.savez(tmp_path / "bad.npz", **spoil(arrays))
    with pytest.raises(UsageError) as refusal:
        check(tmp_path / "bad.npz")
    assert message in str(refusal.value)


def test_an_episode_may_span_blocks(
    tmp_path: Path, check: UploadCheck, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qc_core.data.uploads.check._BLOCK_ROWS", 4)
    np.savez(tmp_path / "good.npz", **arrays)
    assert check(tmp_path / "good.npz") == 2
    np.savez(tmp_path / "bad.npz", **{**arrays, "terminals": np.arange(22) == 20})
    with pytest.raises(UsageError, match="1 rows follow the last end"):
        check(tmp_path / "bad.npz")
