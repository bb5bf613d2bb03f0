"""Ed25519 signatures of policy versions.

A signature proves who published a version and that it is unaltered. The signed message is the line
`q-chunking policy NAME:VERSION` and the bytes of `SHA256SUMS`, which lists the checksums of all
files. Because of the line, the files of a signed version are not valid under another name.
`SHA256SUMS.sig` contains the 64 bytes of the signature.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from qc_core.errors import RunError, UsageError
from qc_core.policy_format.policy_folder import CHECKSUMS, SIGNATURE

KEY_VARIABLE = "QC_SIGNING_KEY"


def signing_key() -> Path | None:
    """Return the private key file from `QC_SIGNING_KEY`, or None."""
    path = os.environ.get(KEY_VARIABLE)
    return Path(path) if path else None


def sign(folder: Path, name: str, version: str, key: Path) -> bytes:
    """Return the signature of a policy folder that will be published as this version.

    Args:
        key: PEM file of an Ed25519 private key without a password.

    Raises:
        UsageError: the key cannot be used, or `cryptography` is not installed.
    """
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    what = "an Ed25519 private key in PEM form without a password"
    content = _read(key, what)
    try:
        private = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable(key, what) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise _unusable(key, what)
    return private.sign(_signed(folder, name, version))


def require_signature(folder: Path, name: str, version: str, key: Path) -> None:
    """Refuse a verified policy folder that is not signed with this key.

    Args:
        key: PEM file of an Ed25519 public key.

    Raises:
        UsageError: the key cannot be used, or `cryptography` is not installed.
        RunError: the signature is missing, or not made with this key for this version.
    """
    _require_cryptography()
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    what = "an Ed25519 public key in PEM form"
    content = _read(key, what)
    try:
        public = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unusable(key, what) from error
    if not isinstance(public, Ed25519PublicKey):
        raise _unusable(key, what)
    if not (folder / SIGNATURE).is_file():
        raise RunError(
            f"{name}:{version} is not signed: pull another version, or pull without a key"
        )
    try:
        public.verify((folder / SIGNATURE).read_bytes(), _signed(folder, name, version))
    except InvalidSignature as error:
        raise RunError(
            f"the signature of {name}:{version} was not made with {key}: do not use this policy"
        ) from error


def _signed(folder: Path, name: str, version: str) -> bytes:
    return f"q-chunking policy {name}:{version}\n".encode() + (folder / CHECKSUMS).read_bytes()


def _require_cryptography() -> None:
    if find_spec("cryptography") is None:
        raise UsageError(
            "signatures need the package cryptography: pip install 'q-chunking[signing]'"
        )


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): it must be {what}") from error


def _unusable(path: Path, what: str) -> UsageError:
    return UsageError(f"{path} cannot be used: it must be {what}")
