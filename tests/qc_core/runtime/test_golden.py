"""Golden cases detect a policy that computes wrong chunks on this machine."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from qc_core.errors import RunError
from qc_core.policy_format.contract import Actions
from qc_core.policy_format.policy_folder import write_checksums
from qc_core.runtime.golden import check_golden, max_difference


def with_golden(policy: Path, folder: Path, **arrays: np.ndarray) -> Path:
    shutil.copytree(policy, folder)
    with np.load(folder / "golden.npz") as file:
        cases = {**file, **arrays}
    np.savez(folder / "golden.npz", allow_pickle=True, **cases)
    write_checksums(folder)
    return folder


def test_a_correct_policy_passes(policy: Path) -> None:
    told = check_golden(policy)
    assert told.startswith("16 golden cases on cpu: maximum difference ")
    assert told.endswith("at most 1e-05 is allowed")


def test_a_difference_is_an_error(policy: Path, tmp_path: Path) -> None:
    with np.load(policy / "golden.npz") as file:
        chunk = file["action_chunk"]
    chunk[7, 3, 2] += 3e-4
    copy = with_golden(policy, tmp_path / "copy", action_chunk=chunk)
    with pytest.raises(RunError, match=r"maximum difference 3\.0e-04, at most 1e-05"):
        check_golden(copy)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"observation": np.zeros((0, 28))}, "it has no cases"),
        ({"action_chunk": np.zeros((16, 4, 5))}, r"expects chunks \[16, 4, 5\]"),
        ({"noise": np.array([object()])}, "cannot be read"),
        ({"more": np.zeros((65, 1 << 20), np.uint8)}, "at most 67,108,864 are allowed"),
        (
            {"observation": np.zeros((16, 27))},
            r"golden\.npz is not of this policy: .*got \[16, 27\]",
        ),
        ({"noise": np.full((16, 25), np.nan)}, r"golden\.npz is not of this policy: the noise"),
    ],
)
def test_invalid_cases_are_refused(
    policy: Path, tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        check_golden(with_golden(policy, tmp_path / "copy", **arrays))


def test_a_difference_is_relative_to_the_action_range() -> None:
    action = Actions(names=("u", "v"), low=(-1.0, -180.0), high=(1.0, 180.0))
    expected = np.zeros((1, 1, 2))
    assert max_difference(np.array([[[0.5, 90.0]]]), expected, action) == 0.5
    assert max_difference(np.array([[[0.1, 36.0]]]), expected, action) == 0.2
