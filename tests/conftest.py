"""Tiny real objects that many tests share."""

from __future__ import annotations

import builtins
import errno
import io
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qc_core.config.catalog import RECIPES
from qc_core.config.settings import Config
from qc_core.data.dataset.dataset import DatasetWriter, Episodes
from qc_core.envs.make import describe
from qc_core.export.export import export
from qc_core.log import configure_logging
from qc_core.policy_format.data_source import DataSource
from qc_core.policy_format.environment_spec import EnvironmentSpec
from qc_core.training.pretrain import pretrain

ENVIRONMENT = "cube-single-singletask-task1-v0"
# Episodes of 200 steps; making it and stepping takes no time.
PENDULUM = "Pendulum-v1"


# Weights and states are compared with those of a CPU, also on a machine that has a GPU.
os.environ["QC_DEVICE"] = "cpu"


@pytest.fixture(autouse=True)
def own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the settings or the store of the person who runs it.

    One core: what training does beside itself, it does in its own process.
    """
    configure_logging()
    for name in list(os.environ):
        if name.startswith(("QC_", "AWS_", "KFP_", "MLFLOW_", "WANDB_")) and name != "QC_DEVICE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("QC_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("QC_THREADS", "1")


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a file or a folder one that may not be read, also for root."""

    def guarded(call: Callable[..., Any], kept: Path, *, itself: bool) -> Callable[..., Any]:
        def refuse(place: Any, *args: Any, **options: Any) -> Any:
            path = Path(place) if isinstance(place, (str, Path)) else Path()
            if kept in path.parents or (itself and path == kept):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return call(place, *args, **options)

        return refuse

    def forbid(kept: Path) -> None:
        monkeypatch.setattr(os, "stat", guarded(os.stat, kept, itself=False))
        opening = ((builtins, "open"), (io, "open"), (os, "scandir"), (os, "listdir"))
        for module, name in opening:
            monkeypatch.setattr(module, name, guarded(getattr(module, name), kept, itself=True))

    return forbid


@pytest.fixture(scope="session")
def spec() -> EnvironmentSpec:
    return describe(ENVIRONMENT)


@pytest.fixture(scope="session")
def config() -> Config:
    return small_config()


def small_config() -> Config:
    """The smoke recipe with even fewer steps, in one process."""
    smoke = RECIPES["smoke"].config
    return replace(
        smoke,
        data=replace(smoke.data, workers=1, episodes=2),
        train=replace(
            smoke.train, offline_steps=4, online_steps=12, learning_starts=4, log_every=2
        ),
        tune=replace(smoke.tune, workers=1, trials=2),
        evaluate=replace(smoke.evaluate, workers=1, episodes=2),
    )


def random_episodes(spec: EnvironmentSpec, lengths: list[int], seed: int = 0) -> Episodes:
    """Episodes of random numbers; the first ends solved, the others by time."""
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    terminals = np.zeros(total, np.float32)
    terminals[np.cumsum(lengths) - 1] = 1
    masks = np.ones(total, np.float32)
    masks[lengths[0] - 1] = 0
    return Episodes(
        observations=rng.normal(size=(total + len(lengths), spec.observation_size)).astype("f4"),
        actions=rng.uniform(-1, 1, (total, spec.action_size)).astype("f4"),
        rewards=rng.normal(size=total).astype("f4"),
        masks=masks,
        terminals=terminals,
    )


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory, spec: EnvironmentSpec) -> Path:
    return write_random_dataset(tmp_path_factory.mktemp("data") / "dataset", spec)


def write_random_dataset(folder: Path, spec: EnvironmentSpec) -> Path:
    """Write a small dataset folder of random numbers, in two shards."""
    writer = DatasetWriter(folder, spec)
    writer.append(random_episodes(spec, [40, 60]))
    writer.append(random_episodes(spec, [50], seed=1))
    writer.finish(DataSource(kind="test"))
    return folder


@pytest.fixture(scope="session")
def pendulum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder of one episode of random numbers for the pendulum."""
    folder = tmp_path_factory.mktemp("data") / "pendulum"
    writer = DatasetWriter(folder, describe(PENDULUM))
    writer.append(random_episodes(describe(PENDULUM), [30]))
    writer.finish(DataSource(kind="test"))
    return folder


@pytest.fixture(scope="session")
def pendulum_config(config: Config) -> Config:
    """As `config`, for the pendulum."""
    train = replace(config.train, hidden_dims=(8,), batch_size=16, normalize_observations=False)
    return replace(config, environment=PENDULUM, train=train)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, config: Config, dataset: Path) -> Path:
    """A pretrained checkpoint folder."""
    folder = tmp_path_factory.mktemp("checkpoints") / "offline"
    pretrain(config, dataset, folder)
    return folder


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """An exported policy folder."""
    folder = tmp_path_factory.mktemp("policies") / "policy"
    export(checkpoint, folder)
    return folder


@pytest.fixture(scope="session")
def pendulum_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, pendulum_config: Config, pendulum: Path
) -> Path:
    """A pretrained checkpoint folder of an environment that tells no success."""
    folder = tmp_path_factory.mktemp("checkpoints") / "pendulum"
    pretrain(pendulum_config, pendulum, folder)
    return folder


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real S3 protocol over HTTP on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    assert server._server is not None
    server._server.app = one_at_a_time(server._server.app)  # pyright: ignore[reportAttributeAccessIssue]
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def one_at_a_time(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """moto looks whether a condition holds, then writes; a real S3 does both at once."""
    turn = threading.Lock()

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with turn:
            return list(application(environ, start_response))

    return serve


@pytest.fixture
def s3_store(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """`QC_STORE` is a bucket of this test's own; returns its location."""
    from qc_core.store.make_buckets import make_buckets

    bucket = f"test-{abs(hash(tmp_path)) % 10**12}"
    monkeypatch.setenv("QC_S3_ENDPOINT", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testtest")
    monkeypatch.setenv("QC_STORE", f"s3://{bucket}/some/prefix")
    make_buckets([bucket])
    return f"s3://{bucket}/some/prefix"
