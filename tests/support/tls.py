"""Certificates of a server that a test starts, by openssl."""

import os
import subprocess
from pathlib import Path

# Of the image's user postgres, who refuses a key that others can read.
_POSTGRES = 999


def make_authority(folder: Path, name: str) -> None:
    """``NAME.pem`` and its key."""
    extension = ("-addext", "basicConstraints=critical,CA:TRUE")
    _openssl(folder, *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}", *extension),
             *("-keyout", f"{name}.key", "-out", f"{name}.pem"))  # fmt: skip


def make_server(folder: Path, address: str) -> None:
    """``server.crt`` and its key for a PostgreSQL at an address, signed by the authority ``ca``, with its folder."""
    _openssl(folder, *"req -newkey rsa:2048 -nodes -subj /CN=database -keyout server.key -out server.csr".split())
    (folder / "extension").write_text(f"subjectAltName=IP:{address}\n")
    signing = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile extension -out server.crt"
    _openssl(folder, *signing.split())
    for path in (folder, folder / "server.key", folder / "server.crt"):
        os.chown(path, _POSTGRES, _POSTGRES)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
