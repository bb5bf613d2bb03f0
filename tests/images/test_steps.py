"""Every step of the compiled pipeline runs in its image, as a pod would run it."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from components.image import TRAIN_IMAGE
from pipeline.placement import STEPS
from qc_core import __version__
from tests.images.containers import Cluster, podman
from tests.images.local_cluster import (
    ENDPOINT,
    RUNTIME_IMAGE,
    STORE_KEYS,
    Network,
    local_cluster,
    store_network,
)

_PRIVATE_KEY = Ed25519PrivateKey.generate()
# Containers start slowly; more episodes would show nothing else.
_SHORT = ("--data.episodes", "2", "--evaluate.episodes", "1")


def _why_not() -> str | None:
    if shutil.which("podman") is None:
        return "podman is not installed"
    if os.getuid() != 0:
        return "only root can put a store into the containers' network"
    for image in (TRAIN_IMAGE, RUNTIME_IMAGE):
        if subprocess.run(["podman", "image", "exists", image]).returncode:
            return f"image {image} is missing: run `make images`"
    return None


_REASON = _why_not()
pytestmark = pytest.mark.skipif(_REASON is not None, reason=str(_REASON))


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with store_network() as network:
        yield network


def _cluster(folder: Path, network: Network, run_id: str, *overrides: str) -> Cluster:
    cluster = local_cluster(folder, network, run_id, "smoke", *overrides)
    cluster.secrets["q-chunking-signing"] = {
        "private.pem": _PRIVATE_KEY.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ).decode(),
        "path": "/var/run/q-chunking-signing/private.pem",
    }
    return cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, network: Network) -> Cluster:
    """A complete run of the smoke recipe."""
    cluster = _cluster(tmp_path_factory.mktemp("run"), network, "run-1", "--seed", "5", *_SHORT)
    # A second thread would wait for the first on a machine that runs other tests.
    cluster.run({"resources_cpus": "1"})
    return cluster


def test_every_step_runs_in_its_image(cluster: Cluster) -> None:
    steps = [ran.name.split("-")[0] for ran in cluster.ran]
    assert sorted(set(steps)) == sorted(STEPS)
    assert steps.count("tune") == 2
    assert all(TRAIN_IMAGE in ran.command for ran in cluster.ran)


def test_runtime_image_pulls_and_runs_the_policy_without_torch(
    cluster: Cluster, network: Network
) -> None:
    code = (
        "import sys, numpy as np\n"
        "from qc_core.runtime import ChunkPolicy\n"
        "policy = ChunkPolicy.load('/tmp/policy')\n"
        "golden = np.load('/tmp/policy/golden.npz')\n"
        "chunk = policy.chunk(golden['observation'], golden['noise'])\n"
        "print(abs(chunk - golden['action_chunk']).max() < 1e-5, 'torch' in sys.modules)"
    )
    said = podman(
        "run",
        "--rm",
        "--read-only",
        "--cap-drop=all",
        f"--network=container:{network.container}",
        "--env=QC_STORE=s3://q-chunking/store",
        f"--env=QC_S3_ENDPOINT={ENDPOINT}",
        f"--env=AWS_ACCESS_KEY_ID={STORE_KEYS['accesskey']}",
        f"--env=AWS_SECRET_ACCESS_KEY={STORE_KEYS['secretkey']}",
        RUNTIME_IMAGE,
        "sh",
        "-c",
        f'qc pull smoke@champion -o /tmp/policy && python3 -c "{code}"',
    )
    assert "checksums verified" in said
    assert said.endswith("True False")


_OPEN_STORE = f"""
import os
os.environ |= dict(QC_STORE='s3://q-chunking/store', QC_S3_ENDPOINT='{ENDPOINT}',
                   AWS_ACCESS_KEY_ID='test', AWS_SECRET_ACCESS_KEY='test')
from qc_core.store.open import open_store
"""


def test_policy_is_signed_with_the_key_of_the_secret(
    cluster: Cluster, network: Network, tmp_path: Path
) -> None:
    public = _PRIVATE_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(public)
    network.python(
        f"{_OPEN_STORE}\n"
        "from pathlib import Path\n"
        "from qc_core.registry.registry import Registry\n"
        f"folder = Path('{tmp_path}')\n"
        "Registry(open_store()).pull('smoke', folder / 'policy', "
        "verify_key=folder / 'public.pem')"
    )
    assert (tmp_path / "policy" / "policy.onnx").is_file()


def test_run_status_is_in_the_store(cluster: Cluster, network: Network) -> None:
    said = network.python(
        f"{_OPEN_STORE}\nprint(open_store().get('runs/run-1/outcome.json').decode())"
    )
    status = json.loads(said)
    assert status["succeeded"] and status["recipe"] == "smoke"
    assert "is the first champion" in status["text"]


def test_every_step_reaches_the_store_to_leave_its_error_there(cluster: Cluster) -> None:
    for ran in cluster.ran:
        assert any(STORE_KEYS["secretkey"] in word for word in ran.command), ran.name


def test_output_and_artifacts_of_steps_contain_no_secret(cluster: Cluster) -> None:
    secret = STORE_KEYS["secretkey"]
    assert all(secret not in ran.output for ran in cluster.ran)
    for path in cluster.folder.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_artifacts_record_the_image_and_the_commit(cluster: Cluster) -> None:
    contract = json.loads((cluster.artifact("export", "policy") / "policy.json").read_text())
    labels = json.loads(podman("inspect", "--format={{json .Labels}}", TRAIN_IMAGE))
    assert labels["org.opencontainers.image.version"] == __version__
    assert contract["git-commit"] == labels["org.opencontainers.image.revision"]


def test_failed_run_reports_its_status_and_skips_later_steps(
    tmp_path: Path, network: Network
) -> None:
    cluster = _cluster(tmp_path, network, "run-2")
    with pytest.raises(AssertionError, match=r"nowhere\.npz"):
        cluster.run({"recipe_overrides": "--data nowhere.npz"})
    assert [ran.name for ran in cluster.ran] == ["configure", "outcome"]
    said = cluster.container("outcome").output
    assert "a run (smoke) FAILED: step configure: nowhere.npz does not exist" in said


def test_images_are_small_and_run_without_root() -> None:
    for image in (TRAIN_IMAGE, RUNTIME_IMAGE):
        assert podman("inspect", "--format={{.Config.User}}", image) == "1000:1000"
        said = podman("run", "--rm", "--network=none", image, "qc", "--version")
        assert said == f"qc {__version__}"
    assert int(podman("inspect", "--format={{.Size}}", RUNTIME_IMAGE)) < 400e6
    missing = podman(
        "run", "--rm", "--network=none", RUNTIME_IMAGE, "python3", "-c",
        "import importlib.util as u; print([n for n in ('torch', 'kfp') if u.find_spec(n)])",
    )  # fmt: skip
    assert missing == "[]"
