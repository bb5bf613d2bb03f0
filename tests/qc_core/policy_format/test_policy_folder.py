"""A policy folder contains exactly the files that its checksums list."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from qc_core.errors import RunError
from qc_core.policy_format.policy_folder import CHECKSUMS, CONTENTS, CONTRACT, read_contract, verify
from tests.qc_core.registry.policy_folders import write_policy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_policy(tmp_path / "policy", seed=1)


def test_a_complete_folder_is_accepted(folder: Path) -> None:
    (folder / "SHA256SUMS.sig").write_bytes(b"signature")
    (folder / ".DS_Store").touch()
    verify(folder)


@pytest.mark.parametrize("name", CONTENTS)
def test_every_file_is_verified(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1] + b"?")
    with pytest.raises(RunError, match=re.escape(name)):
        verify(folder)
    (folder / name).unlink()
    with pytest.raises(RunError, match=f"{re.escape(name)} is missing"):
        verify(folder)


@pytest.mark.parametrize("name", ["weights.bin", "__pycache__"])
def test_a_file_without_a_checksum_is_refused(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    with pytest.raises(RunError, match=f"{re.escape(name)} is not part of the policy"):
        verify(folder)


@pytest.mark.parametrize("line", ["{first}", "0  ../policy.onnx", "0  other", "0 policy.onnx", ""])
def test_checksums_of_other_files_are_refused(folder: Path, line: str) -> None:
    sums = folder / "SHA256SUMS"
    first = sums.read_text().splitlines()[0]
    sums.write_text(sums.read_text() + line.format(first=first) + "\n")
    with pytest.raises(RunError, match="SHA256SUMS is altered"):
        verify(folder)


def test_a_missing_checksum_is_refused(folder: Path) -> None:
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(sums.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(RunError, match=r"does not list model-card\.md"):
        verify(folder)


@pytest.mark.parametrize(
    ("forbidden", "named"), [*((n, n) for n in (*CONTENTS, CHECKSUMS)), (".", CHECKSUMS)]
)
def test_an_unreadable_file_is_named(
    folder: Path, forbid: Callable[[Path], None], forbidden: str, named: str
) -> None:
    forbid(folder / forbidden)
    with pytest.raises(RunError, match=f"{re.escape(named)} cannot be read"):
        verify(folder)


@pytest.mark.parametrize("name", [CONTRACT, "."])
def test_an_unreadable_contract_is_named(
    folder: Path, forbid: Callable[[Path], None], name: str
) -> None:
    forbid(folder / name)
    with pytest.raises(RunError, match=r"policy\.json cannot be read"):
        read_contract(folder)
