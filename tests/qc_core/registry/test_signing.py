"""Signatures prove who published a version; openssl creates and verifies them too."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from qc_core.errors import RunError, UsageError
from qc_core.policy_format.policy_folder import write_checksums
from qc_core.registry.registry import Registry
from qc_core.store.objects import ObjectStore
from tests.qc_core.registry.policy_folders import write_policy


def write_keys(folder: Path, private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
    folder.mkdir()
    (folder / "private.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "public.pem").write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return folder / "private.pem", folder / "public.pem"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return write_keys(tmp_path / "keys", ed25519.Ed25519PrivateKey.generate())


def test_a_signed_version_is_pulled_with_the_owners_key(
    registry: Registry, small_policy: Path, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    private, public = keys
    version = registry.publish(small_policy, "cube", signing_key=private)
    for name, key in (("with", public), ("without", None)):
        registry.pull(f"cube:{version}", tmp_path / name, verify_key=key)
        assert len((tmp_path / name / "SHA256SUMS.sig").read_bytes()) == 64
    assert registry.details(f"cube:{version}").signed


def test_an_unsigned_version_is_refused_when_a_key_is_given(
    registry: Registry, small_policy: Path, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    version = registry.publish(small_policy, "cube")
    with pytest.raises(RunError, match=f"cube:{version} is not signed"):
        registry.pull(f"cube:{version}", tmp_path / "pulled", verify_key=keys[1])
    assert not (tmp_path / "pulled").exists()
    assert not registry.details(f"cube:{version}").signed


def test_another_owners_key_is_refused(
    registry: Registry, small_policy: Path, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    version = registry.publish(small_policy, "cube", signing_key=keys[0])
    _, stranger = write_keys(tmp_path / "others", ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(RunError, match=r"signature of cube:.* was not made with .*public\.pem"):
        registry.pull(f"cube:{version}", tmp_path / "pulled", verify_key=stranger)
    assert not (tmp_path / "pulled").exists()


def replace_version(store: ObjectStore, target: str, source: str) -> None:
    """An attacker can write to the store but has no key."""
    for key in list(store.keys(source)):
        content = store.get(key)
        if key.endswith("manifest.json"):
            content = content.replace(
                source.split("/")[-2].encode(), target.split("/")[-2].encode()
            )
        store.put(target + key.removeprefix(source), content)


def test_a_signature_is_not_valid_for_another_version(
    registry: Registry, store: ObjectStore, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    private, public = keys
    old = registry.publish(write_policy(tmp_path / "old", 1), "cube", signing_key=private)
    new = registry.publish(write_policy(tmp_path / "new", 2), "cube", signing_key=private)
    prefix = "policies/cube/versions/"
    replace_version(store, f"{prefix}{new}/", f"{prefix}{old}/")
    registry.pull(f"cube:{new}", tmp_path / "checksums-alone-are-right")
    with pytest.raises(RunError, match="was not made with"):
        registry.pull(f"cube:{new}", tmp_path / "pulled", verify_key=public)
    # The signature is also invalid under another name.
    replace_version(store, f"policies/other/versions/{old}/", f"{prefix}{old}/")
    with pytest.raises(RunError, match="was not made with"):
        registry.pull(f"other:{old}", tmp_path / "pulled", verify_key=public)


def test_an_altered_policy_with_recomputed_checksums_is_refused(
    registry: Registry, store: ObjectStore, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    private, public = keys
    signed = registry.publish(write_policy(tmp_path / "one", 1), "cube", signing_key=private)
    altered = write_policy(tmp_path / "two", 1)
    (altered / "model-card.md").write_text("all is well")
    write_checksums(altered)
    forged = registry.publish(altered, "cube", signing_key=private)
    prefix = "policies/cube/versions/"
    signature = store.get(f"{prefix}{signed}/SHA256SUMS.sig")
    replace_version(store, f"{prefix}{signed}/", f"{prefix}{forged}/")
    store.put(f"{prefix}{signed}/SHA256SUMS.sig", signature)
    manifest = store.get(f"{prefix}{signed}/manifest.json").decode()
    forged_sum = hashlib.sha256(store.get(f"{prefix}{forged}/SHA256SUMS.sig")).hexdigest()
    manifest = manifest.replace(forged_sum, hashlib.sha256(signature).hexdigest())
    store.put(f"{prefix}{signed}/manifest.json", manifest.encode())
    registry.pull(f"cube:{signed}", tmp_path / "checksums-alone-are-right")
    with pytest.raises(RunError, match="was not made with"):
        registry.pull(f"cube:{signed}", tmp_path / "pulled", verify_key=public)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nsecret\n"])
def test_an_invalid_key_is_refused_and_not_printed(
    registry: Registry, small_policy: Path, tmp_path: Path, content: bytes
) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(content)
    with pytest.raises(UsageError, match=r"key\.pem cannot be used: .* Ed25519 private") as refusal:
        registry.publish(small_policy, "cube", signing_key=key)
    assert "secret" not in str(refusal.value)
    version = registry.publish(small_policy, "cube")
    with pytest.raises(UsageError, match=r"key\.pem cannot be used: .* Ed25519 public"):
        registry.pull(f"cube:{version}", tmp_path / "pulled", verify_key=key)
    with pytest.raises(UsageError, match=r"none\.pem cannot be read"):
        registry.publish(small_policy, "cube", signing_key=tmp_path / "none.pem")
    assert len(registry.versions()) == 1


def test_keys_of_another_kind_are_refused(small_policy: Path, tmp_path: Path, store) -> None:
    registry = Registry(store)
    private, public = write_keys(tmp_path / "keys", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(UsageError, match="must be an Ed25519 private key"):
        registry.publish(small_policy, "cube", signing_key=private)
    version = registry.publish(small_policy, "cube")
    with pytest.raises(UsageError, match="must be an Ed25519 public key"):
        registry.pull(f"cube:{version}", tmp_path / "pulled", verify_key=public)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_openssl_makes_the_keys_and_checks_the_signature(
    registry: Registry, small_policy: Path, tmp_path: Path
) -> None:
    def openssl(*words: str) -> str:
        done = subprocess.run(
            ["openssl", *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    openssl("genpkey", "-algorithm", "ed25519", "-out", "private.pem")
    openssl("pkey", "-in", "private.pem", "-pubout", "-out", "public.pem")
    version = registry.publish(small_policy, "cube", signing_key=tmp_path / "private.pem")
    pulled = tmp_path / "pulled"
    registry.pull(f"cube:{version}", pulled, verify_key=tmp_path / "public.pem")
    line = f"q-chunking policy cube:{version}\n"
    (tmp_path / "signed").write_bytes(line.encode() + (pulled / "SHA256SUMS").read_bytes())
    words = "pkeyutl -verify -pubin -inkey public.pem -rawin -in signed -sigfile"
    assert "Verified Successfully" in openssl(*words.split(), str(pulled / "SHA256SUMS.sig"))
    encrypted = "genpkey -algorithm ed25519 -aes256 -pass pass:secret -out encrypted.pem"
    openssl(*encrypted.split())
    with pytest.raises(UsageError, match="without a password"):
        registry.publish(small_policy, "cube", signing_key=tmp_path / "encrypted.pem")
