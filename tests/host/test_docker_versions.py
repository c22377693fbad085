"""Docker as other machines have it: that of each Debian release and Docker 29, in a file system of their own (F05).

On each, ``script/up`` finds every image, the second plan is empty, and the containers are hardened as on the tests' own daemon.
Nightly: each takes a debootstrap, a copy of all images and a whole deployment.
"""

import functools
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lab.dockerd
from lab.own_network import RESOLVER, own_network
from lab.workspace import copy_checkout, free_port
from ops.clients.docker import Docker
from ops.paths import cache_dir
from tests.host import docker_newest
from tests.host.conftest import IMAGES, PARTS, Checkout, copy_images, images_of
from tests.support import debian

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(4800)]

# Which no Debian has: command and daemon of their Go modules, beside sid's containerd.
NEWEST = "29"
# The oldest that Debian supports, the current one, and the newest that there are.
RELEASES = ("bookworm", "trixie", "sid", NEWEST)
# In a mount namespace of its own, which ends with it. Nothing may start a service in there.
_INSTALL = """
mount -t proc proc "$1/proc"
printf '#!/bin/sh\\nexit 101\\n' > "$1/usr/sbin/policy-rc.d"
chmod 0755 "$1/usr/sbin/policy-rc.d"
cat /etc/resolv.conf > "$1/etc/resolv.conf"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
# A mirror's copy of sid may be older than its signature lasts; what is signed stays checked.
chroot "$1" apt-get -q -o Acquire::Retries=5 -o Acquire::Check-Valid-Until=false update
packages='docker.io iptables ca-certificates tini'
# A package of its own from Debian 13 on.
chroot "$1" apt-cache show docker-cli > /dev/null 2>&1 && packages="$packages docker-cli"
chroot "$1" apt-get -q -y -o Acquire::Retries=5 install --no-install-recommends $packages
"""
# The daemon's root is the tree: runc makes a container's root by pivot_root, which a chroot alone does not allow. The folders of
# its sockets and its storage have the same names inside and outside. It stays this process, for whoever stops it.
_START = """
tree=$1 run=$2 data=$3 dockerd=$4
shift 4
mount --bind "$tree" "$tree"
[ -z "$dockerd" ] || mount --bind "$dockerd" "$tree/usr/sbin/dockerd"
mkdir -p "$tree$run" "$tree$data" "$tree/outside"
mount --rbind /dev "$tree/dev"
mount --rbind /sys "$tree/sys"
mount -t proc proc "$tree/proc"
mount --bind "$run" "$tree$run"
mount --bind "$data" "$tree$data"
cd "$tree"
pivot_root . outside
cd /
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
umount -l /outside
exec dockerd "$@"
"""
_PRIVATE = ("unshare", "--mount", "--propagation", "private", "sh", "-eu", "-c")
# What the hardening is, as the daemon reports it: of HostConfig and of Config.
HOST_FIELDS = (
    *("CapAdd", "CapDrop", "CgroupnsMode", "Init", "IpcMode", "LogConfig", "Memory", "MemorySwap", "NanoCpus", "PidMode"),
    *("Privileged", "PublishAllPorts", "ReadonlyRootfs", "RestartPolicy", "SecurityOpt", "ShmSize", "Tmpfs", "UsernsMode"),
)
CONFIG_FIELDS = ("Healthcheck", "StopTimeout", "User")


@dataclass(frozen=True)
class Release:
    """Docker of a Debian release. checkout: a clone of the project with a home of its own, whose ``docker`` is the release's."""

    name: str
    checkout: Checkout

    @property
    def versions(self) -> list[str]:
        """Of the command and of the daemon."""
        form = "{{.Client.Version}} {{.Server.Version}}"
        return self.checkout.run("docker", "--host", self.checkout.docker.host, "version", "--format", form).stdout.split()


def install(release: str, tree: Path) -> None:
    """A release with Docker in it, in an empty folder."""
    debian.debootstrap(release, tree)
    command = [*_PRIVATE, _INSTALL, "install", str(tree)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"Docker of {release}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def tree_of(release: str) -> Path:
    """The file system of a release with Docker in it, from the cache."""
    return debian.tree(release, functools.partial(install, release))


def command_of(tree: Path, folder: Path) -> Path:
    """A folder with the release's ``docker``: by its own loader and libraries, so that it sees this machine's files."""
    machine = platform.machine()
    loader = next(tree.glob("lib*/ld-linux-*.so.*"), None) or next(tree.glob("usr/lib*/ld-linux-*.so.*"))
    libraries = ":".join(str(tree / place / f"{machine}-linux-gnu") for place in ("lib", "usr/lib"))
    folder.mkdir()
    docker = folder / "docker"
    docker.write_text(f'#!/bin/sh\nexec "{loader}" --library-path "{libraries}" "{tree}/usr/bin/docker" "$@"\n')
    docker.chmod(0o755)
    return folder


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest, checkout: Checkout, first_up: str, tmp_path: Path) -> Iterator[Release]:
    """A daemon of the release with the images of the tests' own, in a network inside theirs."""
    name: str = request.param
    programs = docker_newest.programs() if name == NEWEST else None
    tree = tree_of("sid" if programs else name)
    # Short, because the path of a socket has 107 bytes at most.
    run, data = Path("/run") / f"skyvern-{name}-{os.getpid()}", cache_dir() / f"test-docker-{name}"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    run.mkdir()
    (tree / "etc/resolv.conf").write_text(f"nameserver {RESOLVER}\n")
    program: list[str | Path] = [*_PRIVATE, _START, "start", tree, run, data, programs / "dockerd" if programs else ""]
    daemon = lab.dockerd.Dockerd(run, data, tmp_path / "dockerd.log", pool="10.215.0.0/16", program=program)
    root, home = tmp_path / "clone", tmp_path / "home"
    home.mkdir()
    copy_checkout(root)
    # The tests before this one may have left the tests' own stack stopped, or with other settings. Here, where its port is.
    checkout.write_stack("dev", port=int(checkout.output("app_url").rpartition(":")[2]))
    checkout.run("script/up", timeout_seconds=1800)
    with own_network():
        try:
            daemon.start()
            if IMAGES == "packages":
                # Public ones are pulled, by digest, which a copy would lose.
                copy_images(checkout.docker, daemon.docker, images_of(checkout.docker))
            path = f"{programs or command_of(tree, tmp_path / 'bin')}:{checkout.environment['PATH']}"
            environment = {**checkout.environment, "HOME": str(home), "PATH": path}
            yield Release(name, Checkout(root, daemon.docker, environment))
        finally:
            daemon.stop()
            shutil.rmtree(run, ignore_errors=True)
            shutil.rmtree(data, ignore_errors=True)


def hardening(docker: Docker, stack: str) -> dict[str, dict[str, Any]]:
    """Part -> what holds it, in one spelling: the versions differ in how they write nothing."""
    found = {}
    for part in sorted(PARTS):
        document = docker.inspect(f"skyvern-{stack}-{part}")
        fields = {name: document["HostConfig"].get(name) for name in HOST_FIELDS}
        fields |= {name: document["Config"].get(name) for name in CONFIG_FIELDS}
        fields["Mounts"] = sorted((mount["Destination"], mount["RW"]) for mount in document["Mounts"])
        fields["Networks"] = sorted(name.partition(f"skyvern-{stack}-")[2] for name in document["NetworkSettings"]["Networks"])
        addresses = {
            binding["HostIp"] for bindings in (document["HostConfig"]["PortBindings"] or {}).values() for binding in bindings
        }
        fields["Published"] = sorted(addresses)
        found[part] = {name: value or None for name, value in fields.items()}
        # With the prefix from 20.10.0 on, without it in some of the later ones.
        for name in ("CapAdd", "CapDrop"):
            found[part][name] = sorted(f"CAP_{one.removeprefix('CAP_')}" for one in found[part][name] or [])
    return found


def test_a_stack_is_the_same_with_every_docker(checkout: Checkout, release: Release) -> None:
    other = release.checkout
    other.write_stack("dev", port=free_port())
    up = other.run("script/up", "--images", IMAGES, timeout_seconds=3600)
    print(f"Docker of {release.name}: {release.versions}\n{up.stdout}")
    assert "images are present" in up.stdout or IMAGES == "official"
    again = other.run("script/up", timeout_seconds=1800).stdout
    assert "images are present" in again
    other.pulumi("preview --expect-no-changes -s dev")
    other.pulumi("preview --expect-no-changes --refresh -s dev")
    assert "missing" not in other.run("bin/ops", "images", "list", "-s", "dev").stdout
    assert other.run("bin/ops", "status", "-s", "dev").returncode == 0
    assert hardening(other.docker, "dev") == hardening(checkout.docker, "dev")
