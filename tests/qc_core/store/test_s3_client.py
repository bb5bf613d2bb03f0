"""The S3 client takes server, keys, proxy, certificates and time limit from its settings."""

import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qc_core.errors import UsageError
from qc_core.store.open import open_store
from tests.faults.proxy import FaultProxy, running


def test_settings_of_every_s3_client_are_used(
    s3_store: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str, str]] = []
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-token")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    monkeypatch.setenv("QC_S3_ENDPOINT", "http://store.invalid")
    proxy = FaultProxy(s3_endpoint, lambda method, path: None, seed=0)

    def note(headers: Any) -> None:
        names = ("Authorization", "X-Amz-Security-Token", "Host")
        seen.append(tuple(str(headers.get(name)) for name in names))  # pyright: ignore[reportArgumentType]

    proxy.note = note
    with running(proxy):
        monkeypatch.setenv("HTTP_PROXY", proxy.address)
        open_store().check()
        assert "/eu-north-1/s3/" in seen[-1][0]
        assert seen[-1][1:] == ("the-token", "store.invalid")
        monkeypatch.setenv("AWS_REGION", "eu-south-1")
        open_store().check()
        assert "/eu-south-1/s3/" in seen[-1][0]
        monkeypatch.setenv("QC_S3_ENDPOINT", s3_endpoint)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        open_store().check()
    assert len(seen) == 2


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_missing_keys_are_named(
    s3_store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    monkeypatch.delenv(missing)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UsageError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        open_store().check()


def test_an_authority_of_ones_own_is_trusted_through_its_file(
    s3_store: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate, key = _certificate(tmp_path)
    proxy = FaultProxy(s3_endpoint, lambda method, path: None, seed=0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    proxy.socket = context.wrap_socket(proxy.socket, server_side=True)
    with running(proxy):
        monkeypatch.setenv("QC_S3_ENDPOINT", proxy.address.replace("http:", "https:"))
        with pytest.raises(UsageError, match="is not trusted: set AWS_CA_BUNDLE"):
            open_store().check()
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        open_store().check()
    monkeypatch.setenv("QC_S3_ENDPOINT", s3_endpoint.replace("http:", "https:"))
    with pytest.raises(UsageError, match="does not speak TLS: use http://"):
        open_store().check()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 and its key."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *form))
    return folder / "certificate.pem", folder / "key.pem"


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon", "1e9"])
def test_an_invalid_time_limit_is_refused(
    s3_store: str, monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setenv("QC_S3_TIMEOUT", seconds)
    with pytest.raises(UsageError, match="QC_S3_TIMEOUT must be seconds above 0"):
        open_store()
