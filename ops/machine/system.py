"""This computer: what it is, what its package manager installs, whether an address answers."""

import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ops import shell
from ops.clients import process
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.paths import cache_dir, config_dir

Version = tuple[int, int, int]
SYSTEMD = Path("/run/systemd/system")
OS_RELEASE = Path("/etc/os-release")
PROC_VERSION = Path("/proc/version")
# As long as the first update of a fresh server may take.
APT_LOCK_SECONDS = 600
_APT_LOCKED = ("Could not get lock", "Unable to acquire", "Unable to lock")
# From then on, systemd sets the machine's clock by the network's time.
_BY_THE_NETWORK = "timedatectl set-ntp true"
# At once, and once: WSL's clock stops while Windows sleeps. The other ends well there and does nothing, because systemd-timesyncd
# does not start in what it takes for a container (ConditionVirtualization).
_BY_WINDOWS = "hwclock -s"
# What a command writes at most beside images: the state with its copies, logs, plans.
ROOM_MIB = 300
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


def set_clock(*, wsl: bool) -> str:
    """The command, for root, that sets a machine's clock."""
    return _BY_WINDOWS if wsl else _BY_THE_NETWORK


def without_room() -> tuple[Path, int] | None:
    """The first folder of state, cache and temporary files whose disk is full, and its free MiB; None if none is."""
    for folder in (config_dir(), cache_dir(), Path(tempfile.gettempdir())):
        there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
        free_mib = shutil.disk_usage(there).free // 2**20
        if free_mib < ROOM_MIB:
            return folder, free_mib
    return None


def check_room() -> None:
    """UserError on a full disk, before anything is begun: Pulumi that cannot write the state loses what it has just made."""
    if full := without_room():
        folder, free_mib = full
        raise UserError(
            f"{folder}: {free_mib} MiB are free on its disk, and {ROOM_MIB} MiB are needed; free some (df -h shows how full it "
            "is) and run this again"
        )


def apt_install(packages: Iterable[str], progress: Progress) -> None:
    """Installs Debian packages as root. Raises UserError with the log's name when apt fails."""
    names = list(packages)
    log = cache_dir() / "logs" / "apt.log"
    progress(f"installing {' '.join(names)} with apt (log: {log})")
    # Always, not only when lists are missing: stale lists name versions that the mirrors have dropped.
    _apt(["update", "-q"], log, progress)
    _apt(["install", "-y", "-q", "--no-install-recommends", *names], log, progress)


def _apt(arguments: list[str], log: Path, progress: Progress) -> None:
    """Waits while another program holds apt's locks: a fresh server updates itself at its first start.

    By apt's message and not by its own option (DPkg::Lock::Timeout), which does not wait for the lists' lock and says nothing.
    """
    env = {**shell.variables(), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "LANGUAGE": ""}
    until = time.monotonic() + APT_LOCK_SECONDS
    waiting = 0
    while True:
        try:
            process.stream(["apt-get", *arguments], env=env, log=log)
            return
        except UserError as failed:
            if not any(words in str(failed) for words in _APT_LOCKED):
                raise
            if time.monotonic() > until:
                raise UserError(
                    f"apt: another program holds its locks for more than {APT_LOCK_SECONDS / 60:.0f} min; wait until it has "
                    f"ended (ps -e | grep -E 'apt|dpkg|unattended'), then run this again (log: {log})"
                ) from failed
        if waiting % 12 == 0:
            progress(f"another program is using apt (a fresh server updates itself): waiting, up to {APT_LOCK_SECONDS // 60} min")
        waiting += 1
        time.sleep(5)


def answers(url: str, accepted: Iterable[int] = (200,), timeout_seconds: float = 6) -> bool:
    """Whether a HEAD request for ``url`` is answered with one of the accepted status codes within the time.

    A proxy that answers in place of a blocked host (403, 407) counts as no answer. Raises UserError for one of the environment
    that cannot be used: nothing else behind it could be, either.
    """
    # Here for start time: script/env asks nothing of the network.
    import httpx

    # Here for the same reason.
    from ops.clients import proxies

    proxies.usable_for(url)
    codes: list[int] = []

    def ask() -> None:
        try:
            with httpx.Client(transport=proxies.Transport(), timeout=timeout_seconds, follow_redirects=True) as client:
                codes.append(client.head(url).status_code)
        except (httpx.HTTPError, OSError, UserError):
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
