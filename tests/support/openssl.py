"""Certificates by OpenSSL's own program, of authorities that exist for a test."""

import subprocess
from pathlib import Path


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_authority(folder: Path, name: str) -> None:
    """``NAME.pem`` and its key."""
    extension = ("-addext", "basicConstraints=critical,CA:TRUE")
    openssl(folder, *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}", *extension),
            *("-keyout", f"{name}.key", "-out", f"{name}.pem"))  # fmt: skip
