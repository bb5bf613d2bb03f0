"""Stores objects and publishes policies through a proxy that spoils responses.

    python -m tests.faults.s3_faults --attempts 500 --seed 1 --slow

After each operation, the bucket is compared with what should be in it. An operation survives if it
returns the right result, gives up if it reports that the store does not answer and nothing is
half-done, and is lost otherwise.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from qc_core.errors import QCError
from qc_core.registry.registry import Registry
from qc_core.store.bundle import get_folder, put_folder
from qc_core.store.make_buckets import make_buckets
from qc_core.store.objects import NoSuchObject, ObjectStore, StoreUnavailable
from qc_core.store.s3 import S3Store
from tests.faults.proxy import QUICK, SLOW, Fault, FaultProxy, running
from tests.qc_core.registry.policy_folders import seed_of, write_policy

SURVIVED, GAVE_UP, LOST = "survived", "gave up", "lost"
_KEYS = ("a/one", "a/two", "b/one", "b/c/two")
_NAME = "lifter"
# Larger than a part of a multipart upload.
_LARGE_BYTES = 17 << 20


@dataclass
class Report:
    """Counts of operations by result, the faults by name, and what was lost."""

    results: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {self.results[name]}" for name in (SURVIVED, GAVE_UP, LOST))
        return f"attempts {self.results.total()} ({self.faults.total()} faults): {counts}"


class Attack:
    """Operations on a store behind the proxy, compared with the store itself.

    Args:
        through: the store behind the proxy.
        direct: the same store, without faults.
        folder: for files.
    """

    def __init__(
        self, through: ObjectStore, direct: ObjectStore, folder: Path, rng: random.Random
    ) -> None:
        self._through, self._direct, self._folder, self._rng = through, direct, folder, rng
        self._number = 0
        self.report = Report()

    def run(self, operation: Callable[[Attack], None]) -> None:
        """Run one operation and count its result."""
        self._number += 1
        try:
            operation(self)
        except StoreUnavailable:
            self._count(GAVE_UP)
        except AssertionError as error:
            self._lose(operation, f"wrong: {error}")
        except (QCError, NoSuchObject, Exception) as error:
            self._lose(operation, f"{type(error).__name__}: {error}")
        else:
            self._count(SURVIVED)

    def write(self) -> None:
        key, content = self._key(), self._content()
        before = self._state(key)
        try:
            self._through.put(key, content)
        except StoreUnavailable:
            assert self._state(key) in (before, content), f"{key} is neither old nor new"
            raise
        assert self._state(key) == content, f"{key} was not written"

    def write_if_unchanged(self) -> None:
        key, content = self._key(), self._content()
        try:
            before, tag = self._through.get_tagged(key)
        except NoSuchObject:
            before, tag = None, None
        assert before == self._state(key), f"{key} was read wrong"
        done = self._through.put_if(key, content, tag)
        # A response with a wrong ETag makes a condition that fails; the caller reads again.
        assert self._state(key) == (content if done else before), f"put_if of {key} lied: {done}"

    def write_if_absent(self) -> None:
        key, content = self._key(), self._content()
        before = self._state(key)
        done = self._through.put_if(key, content, None)
        assert done == (before in (None, content)), f"put_if of {key}: {done}"
        assert self._state(key) == (content if done else before), f"put_if of {key} lied: {done}"

    def read(self) -> None:
        key = self._key()
        expected = self._state(key)
        try:
            assert self._through.get(key) == expected, f"{key} was read wrong"
        except NoSuchObject:
            assert expected is None, f"{key} exists"

    def read_to_file(self) -> None:
        key, path = self._key(), self._folder / "read"
        expected = self._state(key)
        try:
            self._through.get_file(key, path)
        except NoSuchObject:
            assert expected is None, f"{key} exists"
        else:
            assert path.read_bytes() == expected, f"{key} was read wrong"

    def write_large(self) -> None:
        path = self._folder / "large"
        path.write_bytes(self._rng.randbytes(_LARGE_BYTES))
        self._through.put_file("large", path)
        assert self._direct.get("large") == path.read_bytes(), "the large object was written wrong"
        self._through.get_file("large", self._folder / "back")
        same = (self._folder / "back").read_bytes() == path.read_bytes()
        assert same, "the large object was read wrong"

    def delete(self) -> None:
        key = self._key()
        self._through.delete(key)
        assert self._state(key) is None, f"{key} was not deleted"

    def listing(self) -> None:
        for prefix in ("", "a/", "b/", "none/"):
            there = sorted(self._direct.keys(prefix))
            assert sorted(self._through.keys(prefix)) == there, (
                f"the listing of {prefix!r} is wrong"
            )
            folders = self._direct.folders(prefix)
            assert self._through.folders(prefix) == folders, f"the folders of {prefix!r} are wrong"

    def bundle(self) -> None:
        prefix, source = f"bundles/{self._number}/", self._folder / f"source-{self._number}"
        source.mkdir()
        for name in ("one", "two"):
            (source / name).write_bytes(self._content())
        put_folder(self._through, prefix, source)
        target = self._folder / f"target-{self._number}"
        get_folder(self._through, prefix, target)
        for name in ("one", "two"):
            assert (target / name).read_bytes() == (source / name).read_bytes(), "bundle differs"

    def publish(self) -> None:
        """A version is published completely or not at all, and aliases never name half of one."""
        policy = write_policy(self._folder / f"policy-{self._number}", self._number)
        try:
            version = Registry(self._through).publish(policy, _NAME)
        finally:
            self._check_versions()
        assert version in [entry.version for entry in Registry(self._direct).versions(_NAME)]

    def pull(self) -> None:
        versions = [entry.version for entry in Registry(self._direct).versions()]
        if versions:
            target = self._folder / f"pulled-{self._number}"
            version = self._rng.choice(versions)
            Registry(self._through).pull(f"{_NAME}:{version}", target)
            seed_of(target)

    def _check_versions(self) -> None:
        registry = Registry(self._direct)
        for entry in registry.versions():
            target = self._folder / f"checked-{self._number}-{entry.version}"
            registry.pull(f"{_NAME}:{entry.version}", target)
            seed_of(target)

    def _key(self) -> str:
        return self._rng.choice(_KEYS)

    def _content(self) -> bytes:
        return self._rng.randbytes(self._rng.choice((0, 10, 1000, 300_000)))

    def _state(self, key: str) -> bytes | None:
        try:
            return self._direct.get(key)
        except NoSuchObject:
            return None

    def _count(self, result: str) -> None:
        self.report.results[result] += 1

    def _lose(self, operation: Callable[[Attack], None], reason: str) -> None:
        self._count(LOST)
        self.report.losses.append(f"{self._number} {operation.__name__}: {reason[:300]}")


_OPERATIONS = (
    Attack.write,
    Attack.write_if_unchanged,
    Attack.write_if_absent,
    Attack.read,
    Attack.read_to_file,
    Attack.delete,
    Attack.listing,
    Attack.bundle,
    Attack.publish,
    Attack.pull,
)


def attack(
    server: str, bucket: str, attempts: int, seed: int, faults: tuple[Fault, ...], rate: float
) -> Report:
    """Run random operations on an empty bucket.

    Args:
        server: address of the S3 server.
        rate: the part of the requests that a fault spoils.
    """
    rng = random.Random(seed)

    def choose(method: str, path: str) -> Fault | None:
        return chooser.choice(faults) if chooser.random() < rate else None

    chooser = random.Random(seed + 1)
    proxy = FaultProxy(server, choose, seed + 2)
    with running(proxy), tempfile.TemporaryDirectory(prefix="qc-faults-") as folder:
        os.environ["QC_S3_ENDPOINT"] = server
        direct = S3Store(f"s3://{bucket}/some/prefix")
        make_buckets([bucket])
        os.environ["QC_S3_ENDPOINT"] = proxy.address
        through = S3Store(f"s3://{bucket}/some/prefix")
        attacker = Attack(through, direct, Path(folder), rng)
        for number in range(attempts):
            large = number % 100 == 99
            attacker.run(Attack.write_large if large else rng.choice(_OPERATIONS))
    attacker.report.faults = proxy.counts
    return attacker.report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.4)
    parser.add_argument("--slow", action="store_true", help="also servers that are silent")
    options = parser.parse_args()
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testtest"}
    os.environ.setdefault("QC_S3_TIMEOUT", "10")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    faults = (*QUICK, *SLOW) if options.slow else tuple(QUICK)
    try:
        report = attack(
            f"http://{host}:{port}", "faults", options.attempts, options.seed, faults, options.rate
        )
    finally:
        server.stop()
    for loss in report.losses:
        print(loss, file=sys.stderr)
    print(", ".join(f"{name} {count}" for name, count in sorted(report.faults.items())))
    print(report)
    return bool(report.results[LOST])


if __name__ == "__main__":
    sys.exit(main())
