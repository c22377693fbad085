"""A mirror whose Debian nobody at Debian signed: images/debian/rootfs.sh must take nothing from it."""

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from ops.paths import ROOT

RELEASE = """\
Origin: Debian
Suite: stable
Codename: trixie
Components: main
Architectures: amd64 arm64
SHA256:
 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/binary-amd64/Packages
"""
MIRROR, KEYRING = "http://deb.debian.org/debian", "/usr/share/keyrings/debian-archive-keyring.gpg"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def mirror(folder: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def rootfs(folder: Path, address: str, keyring: str = KEYRING) -> subprocess.CompletedProcess[str]:
    """The script, with the loopback mirror in place of Debian's and, where wanted, another keyring."""
    scripts = folder / "scripts"
    shutil.copytree(ROOT / "images" / "debian", scripts)
    script = (scripts / "rootfs.sh").read_text()
    assert MIRROR in script
    assert f"keyring={KEYRING}\n" in script
    (scripts / "rootfs.sh").write_text(script.replace(MIRROR, address).replace(f"keyring={KEYRING}\n", f"keyring={keyring}\n"))
    return subprocess.run(
        ["sh", scripts / "rootfs.sh", folder / "work", folder / "rootfs.tar"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def dists(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror" / "dists" / "trixie"
    folder.mkdir(parents=True)
    return folder


def sign(dists: Path, tmp_path: Path) -> Path:
    """Signs the mirror's Release with a key of nobody's; returns a keyring that holds this key."""
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg: list[str | Path] = ["gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    (dists / "Release").write_text(RELEASE)
    calls: tuple[list[str | Path], ...] = (
        ["--quick-generate-key", "nobody@example.com", "rsa2048", "sign", "never"],
        ["--output", dists / "InRelease", "--clearsign", dists / "Release"],
        ["--output", dists / "Release.gpg", "--armor", "--detach-sign", dists / "Release"],
        ["--output", tmp_path / "keyring.gpg", "--export", "nobody@example.com"],
    )
    for arguments in calls:
        subprocess.run([*gpg, *arguments], check=True, timeout=60)
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, timeout=60)
    return tmp_path / "keyring.gpg"


def test_an_unsigned_mirror_is_refused(dists: Path, tmp_path: Path) -> None:
    (dists / "Release").write_text(RELEASE)
    with mirror(tmp_path / "mirror") as address:
        done = rootfs(tmp_path, address)
    assert done.returncode != 0
    assert "Failed getting release signature file" in done.stdout + done.stderr
    assert not (tmp_path / "rootfs.tar").exists()


def test_a_mirror_with_another_signature_is_refused(dists: Path, tmp_path: Path) -> None:
    sign(dists, tmp_path)
    with mirror(tmp_path / "mirror") as address:
        done = rootfs(tmp_path, address)
    assert done.returncode != 0
    assert "Release signed by unknown key" in done.stdout + done.stderr


def test_the_keyring_decides(dists: Path, tmp_path: Path) -> None:
    """With the key of the mirror in it, the same mirror is believed: it then lacks packages, which is another error."""
    keyring = sign(dists, tmp_path)
    with mirror(tmp_path / "mirror") as address:
        done = rootfs(tmp_path, address, str(keyring))
    assert done.returncode != 0
    assert "Valid Release signature" in done.stdout + done.stderr


def test_without_a_keyring_there_is_one_line_and_no_request(tmp_path: Path) -> None:
    done = rootfs(tmp_path, "http://127.0.0.1:9", "/nonexistent/keyring.gpg")
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.startswith("rootfs.sh: /nonexistent/keyring.gpg is missing, so Debian's signatures cannot be checked; install ")
    assert done.returncode == 1
