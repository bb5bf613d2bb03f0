"""The surroundings of a package's containers on this machine: a store in a network of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.image import TRAIN_IMAGE
from qc_core.cli.main import main
from tests.images.containers import Cluster, podman
from tests.pipeline.tasks import read_package

RUNTIME_IMAGE = TRAIN_IMAGE.replace("-train:", "-runtime:")
ENDPOINT = "http://127.0.0.1:9000"
STORE_KEYS = {"accesskey": "test", "secretkey": "a-secret-of-the-store"}
_MAKE_BUCKET = f"""
import os
os.environ |= dict(QC_S3_ENDPOINT="{ENDPOINT}", AWS_ACCESS_KEY_ID="test",
                   AWS_SECRET_ACCESS_KEY="test")
from qc_core.store.make_buckets import make_buckets
make_buckets(["q-chunking"])
"""
_ANSWERS = """
import socket
socket.create_connection(("127.0.0.1", 9000), 1)
"""


@dataclass
class Network:
    """A network that contains only a store."""

    container: str
    enter: list[str]

    def python(self, code: str) -> str:
        """Run Python of this environment inside the network."""
        done = subprocess.run(
            [*self.enter, sys.executable, "-c", code], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def store_network() -> Iterator[Network]:
    """Start a store with the bucket `q-chunking` in a network of its own; needs root."""
    container = podman("run", "--detach", "--network=none", RUNTIME_IMAGE, "sleep", "infinity")
    try:
        process = podman("inspect", "--format={{.State.Pid}}", container)
        enter = ["nsenter", f"--net=/proc/{process}/ns/net"]
        server = subprocess.Popen(
            [*enter, sys.executable, "-m", "moto.server", "--host=127.0.0.1", "--port=9000"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            here = Network(container, enter)
            while subprocess.run(
                [*enter, sys.executable, "-c", _ANSWERS], capture_output=True
            ).returncode:
                assert server.poll() is None, "the store did not start"
                time.sleep(0.2)
            here.python(_MAKE_BUCKET)
            yield here
        finally:
            server.terminate()
            server.wait()
    finally:
        podman("rm", "--force", "--time=0", container)


def local_cluster(
    folder: Path, network: Network, run_id: str, recipe: str, *overrides: str
) -> Cluster:
    """Compile a recipe, for a cluster whose store is in the network and whose study is a file."""
    path = folder / "pipeline.yaml"
    assert main(["compile", recipe, "-o", str(path), *overrides]) == 0
    package, platform = read_package(path)
    artifacts, study = folder / "artifacts", folder / "study"
    for shared in (artifacts, study):
        shared.mkdir()
        shared.chmod(0o777)
    return Cluster(
        package,
        platform,
        artifacts,
        network=f"container:{network.container}",
        secrets={"q-chunking-store": STORE_KEYS, "q-chunking-study": {"url": "/study/journal"}},
        settings={
            "q-chunking": {
                "QC_STORE": "s3://q-chunking/store",
                "QC_S3_ENDPOINT": ENDPOINT,
                "AWS_REGION": "us-east-1",
            }
        },
        volumes={study: "/study"},
        run_id=run_id,
    )
