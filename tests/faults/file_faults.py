"""Opens files whose bytes were altered.

A file survives if it is read or refused with one line. It is lost if anything else is raised, such
as an exception of a library, or if it takes longer than the limit.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from qc_core.config.yaml_file import read_yaml
from qc_core.errors import QCError
from qc_core.files import sha256_of
from qc_core.policy_format.policy_folder import CONTENTS, CONTRACT, GOLDEN, MODEL, write_checksums
from qc_core.runtime.golden import check_golden
from qc_core.runtime.policy import ChunkPolicy

SURVIVED, LOST = "survived", "lost"
_MAX_SECONDS = 30.0
_YAML = (
    b"train: &t {alpha: 3.0, offline-steps: 100}\nseeds: [0, 1, 2]\nmore: {<<: *t, method: qc}\n"
)


def altered(content: bytes, rng: random.Random) -> bytes:
    """Return the content with bytes changed, removed, repeated or added."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 20))):
        at, count = rng.randrange(len(data) + 1), rng.choice((1, 4, 100))
        kind = rng.randrange(5)
        if kind == 0:
            data[at : at + count] = rng.randbytes(count)
        elif kind == 1:
            del data[at : at + count]
        elif kind == 2:
            data[at:at] = data[at : at + count] * rng.choice((1, 10))
        elif kind == 3:
            del data[at:]
        elif data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
    return bytes(data)


def _write_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = '{"env_name": "Lift", "env_kwargs": {}}'
        demo = data.create_group("demo_0")
        demo.create_dataset("actions", data=np.zeros((5, 7)), compression="gzip")
        demo["rewards"] = demo["dones"] = np.zeros(5)
        demo["obs/object"] = np.zeros((5, 10))


def _open_hdf5(path: Path) -> None:
    from qc_core.config.settings import DataConfig
    from qc_core.data.formats.robomimic_hdf5 import open_robomimic

    for _ in open_robomimic(path, DataConfig()).read():
        pass


def attack(policy: Path, attempts: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Alter files of a policy folder, a recording and a YAML file, and open them.

    Returns:
        Counts by result, and what was lost.
    """
    rng = random.Random(seed)
    results: Counter[str] = Counter()
    losses: list[str] = []
    with tempfile.TemporaryDirectory(prefix="qc-faults-") as name:
        folder = Path(name)
        _write_hdf5(folder / "whole.hdf5")
        recording = (folder / "whole.hdf5").read_bytes()
        whole = {file: (policy / file).read_bytes() for file in CONTENTS}

        def alter_policy(file: str) -> Callable[[], None]:
            copy = folder / "policy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(policy, copy)
            (copy / file).write_bytes(altered(whole[file], rng))
            # Whoever alters a file can also write its checksum.
            write_checksums(copy)
            assert sha256_of(copy / file)
            if file == GOLDEN:
                return lambda: print(check_golden(copy), file=sys.stderr)
            return lambda: ChunkPolicy(copy, threads=1).close()

        def alter_file(suffix: str, content: bytes, use: Callable[[Path], object]) -> Callable:
            path = folder / f"altered{suffix}"
            path.write_bytes(altered(content, rng))
            return lambda: use(path)

        for number in range(attempts):
            kind = rng.choice((MODEL, CONTRACT, GOLDEN, ".hdf5", ".yaml"))
            if kind == ".hdf5":
                use = alter_file(kind, recording, _open_hdf5)
            elif kind == ".yaml":
                use = alter_file(kind, _YAML, read_yaml)
            else:
                use = alter_policy(kind)
            start = time.monotonic()
            try:
                use()
                problem = ""
            except QCError as error:
                problem = "several lines" if "\n" in str(error) else ""
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            if (seconds := time.monotonic() - start) > _MAX_SECONDS:
                problem = f"it took {seconds:.0f} s"
            results[LOST if problem else SURVIVED] += 1
            if problem:
                losses.append(f"{number} {kind}: {problem[:300]}")
    return results, losses
