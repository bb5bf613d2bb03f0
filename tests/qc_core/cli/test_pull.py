"""`qc pull` downloads a policy in two layouts and can check its golden cases."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from qc_core.cli.main import main
from qc_core.policy_format.policy_folder import write_checksums
from qc_core.registry.registry import Registry
from qc_core.store.open import open_store


def publish(policy: Path) -> None:
    registry = Registry(open_store())
    registry.set_alias("cube", "latest", registry.publish(policy, "cube"))


@pytest.fixture
def wrong(policy: Path, tmp_path: Path) -> Path:
    """A policy whose golden cases expect other actions."""
    copy = Path(shutil.copytree(policy, tmp_path / "wrong"))
    with np.load(copy / "golden.npz") as file:
        cases = dict(file)
    cases["action_chunk"] = cases["action_chunk"] + 0.5
    np.savez(copy / "golden.npz", allow_pickle=False, **cases)
    write_checksums(copy)
    return copy


def test_a_policy_is_pulled_and_checked(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(policy)
    assert main(["pull", "cube", "-o", str(tmp_path / "pulled"), "--check"]) == 0
    printed = capsys.readouterr()
    checked, pulled = printed.out.splitlines()
    assert printed.err.startswith("cube has no champion: using its latest version")
    assert pulled.startswith("pulled cube:")
    assert checked.startswith("16 golden cases on cpu: maximum difference ")
    assert sorted(path.name for path in (tmp_path / "pulled").iterdir()) == sorted(
        path.name for path in policy.iterdir()
    )


def test_triton_layout(policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(policy)
    words = ["pull", "cube@latest", "-o", str(tmp_path / "models"), "--layout", "triton"]
    assert main([*words, "--check"]) == 0
    assert "golden cases" in capsys.readouterr().out
    files = {
        path.relative_to(tmp_path).as_posix()
        for path in (tmp_path / "models").rglob("*")
        if path.is_file()
    }
    assert files == {f"models/cube/{n}" for n in ("config.pbtxt", "golden.npz", "1/model.onnx")}
    assert main(words) == 2
    assert "is in use" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["policy", "triton"])
def test_a_policy_that_fails_its_golden_cases_is_an_error(
    wrong: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    publish(wrong)
    words = ["pull", "cube@latest", "-o", str(tmp_path / "out"), "--layout", layout]
    assert main([*words, "--check"]) == 1
    error = capsys.readouterr().err.strip()
    assert "maximum difference 5.0e-01, at most 1e-05 is allowed" in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()


def test_an_unknown_layout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "cube", "-o", str(tmp_path / "out"), "--layout", "tf"]) == 2
    assert "'policy', 'triton'" in capsys.readouterr().err


def test_force_replaces_a_policy_and_nothing_else(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(policy)
    words = ["pull", "cube@latest", "-o", str(tmp_path / "pulled")]
    assert main(words) == 0
    (tmp_path / "pulled" / "mine").touch()
    assert main(words) == 2
    assert main([*words, "--force"]) == 0
    assert not (tmp_path / "pulled" / "mine").exists()
    assert [path.name for path in tmp_path.glob(".*")] == []
    (other := tmp_path / "other").mkdir()
    (other / "mine").touch()
    capsys.readouterr()
    assert main(["pull", "cube@latest", "-o", str(other), "--force"]) == 2
    assert "is not a policy folder, and is not replaced" in capsys.readouterr().err
    assert (other / "mine").exists()
