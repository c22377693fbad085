"""This computer: what it is, what its package manager installs, whether an address answers."""

import os
import re
import shutil
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ops.clients import process
from ops.clients.terminal import Progress
from ops.paths import cache_dir

Version = tuple[int, int, int]
SYSTEMD = Path("/run/systemd/system")
OS_RELEASE = Path("/etc/os-release")
PROC_VERSION = Path("/proc/version")
# The same path as in images/debian/rootfs.sh.
DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The facts that decide how software gets onto this machine.

    debian: Debian, Ubuntu or a relative with apt. wsl: 0 outside of WSL, else its version. systemd: it is the running init.
    """

    root: bool
    debian: bool
    wsl: int
    systemd: bool


def observe_machine() -> Machine:
    """This machine."""
    release = OS_RELEASE.read_text() if OS_RELEASE.exists() else ""
    families = set(re.findall(r'^ID(?:_LIKE)?="?([^"\n]*)"?$', release, re.MULTILINE))
    names = {name for family in families for name in family.split()}
    kernel = PROC_VERSION.read_text() if PROC_VERSION.exists() else ""
    return Machine(
        root=os.geteuid() == 0,
        debian=bool(names & {"debian", "ubuntu"}) and shutil.which("apt-get") is not None,
        wsl=wsl_version(kernel),
        systemd=SYSTEMD.is_dir(),
    )


def wsl_version(kernel: str) -> int:
    """The version of WSL, or 0: ``4.4.0-19041-Microsoft`` is WSL 1, ``5.15.153.1-microsoft-standard-WSL2`` is WSL 2."""
    if "microsoft" not in kernel.lower():
        return 0
    return 1 if re.search(r"-Microsoft\b", kernel) else 2


def apt_install(packages: Iterable[str], progress: Progress) -> None:
    """Installs Debian packages as root. Raises UserError with the log's name when apt fails."""
    names = list(packages)
    log = cache_dir() / "logs" / "apt.log"
    progress(f"installing {' '.join(names)} with apt (log: {log})")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Always, not only when lists are missing: stale lists name versions that the mirrors have dropped.
    process.stream(["apt-get", "update", "-q"], env=env, log=log)
    process.stream(["apt-get", "install", "-y", "-q", "--no-install-recommends", *names], env=env, log=log)


def answers(url: str, accepted: Iterable[int] = (200,), timeout_seconds: float = 6) -> bool:
    """Whether a HEAD request for ``url`` is answered with one of the accepted status codes within the time.

    A proxy that answers in place of a blocked host (403, 407) counts as no answer.
    """
    # Here for start time: script/env asks nothing of the network.
    import httpx

    codes: list[int] = []

    def ask() -> None:
        try:
            codes.append(httpx.head(url, timeout=timeout_seconds, follow_redirects=True).status_code)
        except (httpx.HTTPError, OSError):
            return

    # A thread, because the timeout of no HTTP client covers a resolver that does not answer.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout_seconds + 2)
    return bool(codes) and codes[0] in set(accepted)


def parse_version(text: str) -> Version | None:
    """``v3.256.0`` or ``3.256.0-dev`` as numbers; None for anything else."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text.strip())
    return (int(match[1]), int(match[2]), int(match[3])) if match else None
