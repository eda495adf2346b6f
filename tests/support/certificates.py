"""A certificate for loopback, from an authority that exists only in the tests."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """The files of a server, and what lets a client trust it."""

    chain: Path
    key: Path
    trust: ssl.SSLContext


def make_certificate(folder: Path) -> Certificate:
    """Write chain.pem and key.pem for 127.0.0.1, and other.pem, the key of another certificate."""
    authority, trust = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trust)
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(str(folder / "other.pem"))
    (folder / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return Certificate(folder / "chain.pem", folder / "key.pem", trust)
