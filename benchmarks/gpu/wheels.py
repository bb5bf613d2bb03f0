"""Downloads the wheels that the GPU machine lacks, to travel with the source.

    python3 -m benchmarks.gpu.wheels     # into .gpu-wheels/, or: make gpu-wheels

Checks that the machine has none of them yet, that each one's requirements are on the machine or
among them, and that all together stay below 60 MB.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks.gpu.environment import PACKAGES, WHEELS, names_in, normalized

MACHINE = PACKAGES.with_name("machine-packages.txt")
LIMIT_BYTES = 60_000_000
_PLATFORMS = ("2_28", "2_27", "2_24", "2_17", "2_12", "2_5")
# Examples and their assets, which nothing here imports: 50 of the wheel's 56 MB.
_UNUSED = {
    "dm_control": ("dm_control/locomotion/", "dm_control/suite/", "dm_control/blender/"),
}
# dm_control asks for them in the folders above, dm_env for nested specifications.
_NOT_NEEDED = {"dm-tree", "labmaze"}
_MARKERS = {
    "python_version": "3.12",
    "python_full_version": "3.12.3",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "extra": "",
}


def check_list() -> None:
    """Refuse packages that the machine has (SystemExit)."""
    if twice := sorted(names_in(PACKAGES) & names_in(MACHINE)):
        raise SystemExit(f"the machine has {', '.join(twice)}: remove it from {PACKAGES.name}")


def download(folder: Path) -> list[Path]:
    """Download the wheels of the list for Python 3.12 and return their paths."""
    platforms = [f"--platform=manylinux_{version}_x86_64" for version in _PLATFORMS]
    older = [f"--platform=manylinux{version}_x86_64" for version in ("2014", "2010", "1")]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"),
            *("--no-deps", "--only-binary=:all:", "--python-version=3.12", "--implementation=cp"),
            *platforms,
            *older,
            *("--dest", str(folder), "--requirement", str(PACKAGES)),
        ],
        check=True,
    )
    return sorted(folder.glob("*.whl"))


def missing_requirements(wheels: Iterable[Path]) -> list[str]:
    """What the wheels require that is neither on the machine nor among them."""
    available = names_in(MACHINE) | names_in(PACKAGES) | _NOT_NEEDED
    missing = []
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
            metadata = HeaderParser().parsestr(archive.read(name).decode())
        for line in metadata.get_all("Requires-Dist") or []:
            requirement = Requirement(line)
            if requirement.marker is not None and not requirement.marker.evaluate(_MARKERS):
                continue
            if normalized(requirement.name) not in available:
                missing.append(f"{requirement.name} (for {wheel.name})")
    return missing


def without_unused(wheel: Path, target: Path) -> Path:
    """Copy a wheel without the folders that nothing here imports."""
    unused = _UNUSED.get(wheel.name.split("-")[0], ())
    copy = target / wheel.name
    with (
        zipfile.ZipFile(wheel) as source,
        zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        records: list[str] = []
        record = next(n for n in source.namelist() if n.endswith(".dist-info/RECORD"))
        for entry in source.infolist():
            if entry.is_dir() or entry.filename == record or entry.filename.startswith(unused):
                continue
            content = source.read(entry)
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            records.append(f"{entry.filename},sha256={digest.decode()},{len(content)}\n")
        archive.writestr(record, "".join(records) + f"{record},,\n")
    return copy


def main() -> None:
    check_list()
    WHEELS.mkdir(exist_ok=True)
    for old in WHEELS.glob("*.whl"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="qc-wheels-") as scratch:
        downloaded = download(Path(scratch))
        if missing := missing_requirements(downloaded):
            raise SystemExit(f"the machine lacks {'; '.join(missing)}: add them to {PACKAGES.name}")
        wheels = [without_unused(wheel, WHEELS) for wheel in downloaded]
    for wheel in wheels:
        print(f"{wheel.stat().st_size / 1e6:6.2f} MB  {wheel.name}")
    total = sum(wheel.stat().st_size for wheel in wheels)
    print(f"{total / 1e6:6.2f} MB in all, in {WHEELS}")
    if total > LIMIT_BYTES:
        raise SystemExit(f"the wheels take {total / 1e6:.1f} MB (limit {LIMIT_BYTES / 1e6:.0f})")


if __name__ == "__main__":
    main()
