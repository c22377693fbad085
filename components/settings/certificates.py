"""Certificates that a stack file names: a file of the checkout, so that a plan depends on what is committed."""

import re
import ssl
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
# It travels as one argument of a program, of which Linux takes 128 KiB.
MOST_BYTES = 100_000
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s.+?\s-----END CERTIFICATE-----", re.DOTALL)


def read(name: str, *, example: str = "company-ca.pem", only: str = "the company's own certificates") -> str:
    """The certificates of a file as PEM, without what is written between them; ValueError with what to write instead.

    name: path relative to the checkout. example: of such a path, in messages. only: what belongs into a file that is too large.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not (ROOT / path).resolve().is_relative_to(ROOT):
        raise ValueError(f"is not in the checkout; copy the file there, commit it and write its path, for example {example}")
    try:
        content = (ROOT / path).read_bytes()
    except OSError as failed:
        raise ValueError(f"cannot be read in the checkout ({failed.strerror}); write the path of a PEM file there") from None
    if b"PRIVATE KEY-----" in content:
        raise ValueError("holds a private key, which is now in the checkout; write a file with certificates alone")
    if len(content) > MOST_BYTES:
        raise ValueError(f"is larger than 100 kB; write {only} alone, the public ones are known")
    blocks = _CERTIFICATE.findall(content.decode("ascii", errors="replace").replace("\r\n", "\n"))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="\n".join(blocks))
    except (ssl.SSLError, ValueError):
        blocks = []
    if not blocks:
        raise ValueError(
            f"has no certificates in PEM; convert it with `openssl x509 -inform der -in FILE -out {example}` and name that"
        )
    return "\n".join(blocks) + "\n"


def check(name: str, **messages: str) -> str:
    """The path as it is, if ``read`` takes it. messages: as of ``read``."""
    read(name, **messages)
    return name
