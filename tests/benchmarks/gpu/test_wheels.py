"""The list of wheels fits the GPU machine, and wheels without unused folders install."""

import subprocess
import sys
import zipfile
from pathlib import Path

from benchmarks.gpu import wheels


def test_no_wheel_is_on_the_machine_already() -> None:
    wheels.check_list()
    assert "torch" in wheels.names_in(wheels.MACHINE)
    assert "mujoco" in wheels.names_in(wheels.PACKAGES)


def test_versions_are_those_of_the_constraints() -> None:
    constraints = Path(__file__).resolve().parents[3] / "constraints.txt"
    pinned = {
        wheels.normalized(name): version
        for name, _, version in (
            line.split(";")[0].strip().partition("==")
            for line in constraints.read_text().splitlines()
            if "==" in line
        )
    }
    for line in wheels.PACKAGES.read_text().splitlines():
        if line.startswith("#"):
            continue
        name, _, version = line.partition("==")
        assert pinned[wheels.normalized(name)] == version


def _wheel(folder: Path, requires: str) -> Path:
    path = folder / "dm_control-1.0-py3-none-any.whl"
    info = "dm_control-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("dm_control/__init__.py", "VALUE = 1\n")
        archive.writestr("dm_control/suite/large.xml", "x" * 1000)
        metadata = f"Metadata-Version: 2.1\nName: dm_control\nVersion: 1.0\n{requires}\n"
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_unused_folders_are_left_out_and_the_wheel_installs(tmp_path: Path) -> None:
    target = tmp_path / "small"
    target.mkdir()
    small = wheels.without_unused(_wheel(tmp_path, ""), target)
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", str(site), str(small)], check=True)
    assert (site / "dm_control" / "__init__.py").exists()
    assert not (site / "dm_control" / "suite").exists()


def test_missing_requirements_are_found(tmp_path: Path) -> None:
    wheel = _wheel(
        tmp_path,
        "Requires-Dist: numpy\nRequires-Dist: unknown-package>1\n"
        'Requires-Dist: other; extra == "x"\nRequires-Dist: labmaze',
    )
    assert wheels.missing_requirements([wheel]) == [f"unknown-package (for {wheel.name})"]
