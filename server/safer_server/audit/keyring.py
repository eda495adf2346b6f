"""The keys that sign receipts: one private key in use, and the public keys of it and of its predecessors.

Public keys are JSON Web Keys (RFC 8037), named by their thumbprint (RFC 7638).
"""

import os
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import BaseModel, Field, ValidationError

from safer_protocol.receipt import Receipt, Tombstone, canonical
from safer_server.audit.locking import locked

PRIVATE, PUBLIC, _LOCK = "receipt-key.pem", "receipt-keys.json", "receipt-keys.lock"

Signed = TypeVar("Signed", Receipt, Tombstone)


class KeyringError(Exception):
    """Keys that cannot be used; the message names the file."""


class Jwk(BaseModel):
    """A public key."""

    kty: str = Field(default="OKP", pattern="^OKP$")
    crv: str = Field(default="Ed25519", pattern="^Ed25519$")
    x: str = Field(pattern=r"^[A-Za-z0-9_-]{43}$")
    kid: str
    use: str = "sig"
    alg: str = "EdDSA"


class Jwks(BaseModel):
    """Public keys, the one in use first."""

    keys: tuple[Jwk, ...] = ()


@dataclass(frozen=True)
class Signer:
    """The key in use."""

    key: Ed25519PrivateKey
    kid: str

    def sign(self, unsigned: Signed) -> Signed:
        """Put the signature in; `key` must name this key."""
        signature = b64encode(self.key.sign(unsigned.payload)).decode()
        return unsigned.model_copy(update={"signature": signature})


@dataclass(frozen=True)
class PublicKeys:
    """The keys that are believed, by name."""

    keys: Mapping[str, Ed25519PublicKey]

    def holds(self, signed: Receipt | Tombstone) -> bool:
        """Whether a known key made the signature."""
        key = self.keys.get(signed.key)
        if key is None:
            return False
        try:
            key.verify(b64decode(signed.signature, validate=True), signed.payload)
        except (InvalidSignature, ValueError):
            return False
        return True


def open_keyring(folder: Path, key_file: Path | None) -> tuple[Signer, Jwks]:
    """Read the private key, or make the first one in the folder; note its public key there. Raise `KeyringError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(folder / _LOCK):
            private = key_file or folder / PRIVATE
            if key_file is None and not private.exists():
                _write_private(private)
            signer = _read_private(private)
            return signer, _note(folder, signer)
    except OSError as error:
        raise KeyringError(f"{error.filename or folder}: {error.strerror}") from None


def rotate(folder: Path, key_file: Path | None) -> Signer:
    """Put a new private key in the place of the old one, whose public key stays known. Raise `KeyringError`."""
    open_keyring(folder, key_file)
    try:
        with locked(folder / _LOCK):
            private = key_file or folder / PRIVATE
            _write_private(private)
            signer = _read_private(private)
            _note(folder, signer)
            return signer
    except OSError as error:
        raise KeyringError(f"{error.filename or folder}: {error.strerror}") from None


def read_public(file: Path) -> PublicKeys:
    """Read public keys as a server publishes them. Raise `KeyringError`."""
    keys = _read_jwks(file).keys
    return PublicKeys({key.kid: Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(key.x + "=")) for key in keys})


def _read_jwks(file: Path) -> Jwks:
    try:
        return Jwks.model_validate_json(file.read_bytes())
    except OSError as error:
        raise KeyringError(f"{file}: {error.strerror}") from None
    except ValidationError:
        raise KeyringError(f"{file}: not a JSON Web Key Set of Ed25519 keys") from None


def _note(folder: Path, signer: Signer) -> Jwks:
    """Put the key in use first."""
    file = folder / PUBLIC
    known = _read_jwks(file).keys if file.exists() else ()
    own = _jwk(signer.key.public_key())
    jwks = Jwks(keys=(own, *(key for key in known if key.kid != own.kid)))
    if known != jwks.keys:
        _replace(file, jwks.model_dump_json(indent=2).encode(), 0o644)
    return jwks


def _jwk(key: Ed25519PublicKey) -> Jwk:
    x = _base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
    return Jwk(x=x, kid=_base64url(sha256(canonical({"crv": "Ed25519", "kty": "OKP", "x": x})).digest()))


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _read_private(file: Path) -> Signer:
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyringError(f"{file}: not an Ed25519 private key (PEM) without a passphrase")
    return Signer(key, _jwk(key.public_key()).kid)


def _write_private(file: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _replace(file, pem, 0o600)


def _replace(file: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all; under a lock."""
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)
