"""What Docker says in its own words on a machine that is not fresh, and the cure: logins, limits, kernels, packages.

Looked at before anything is built where that is possible, else recognised in the message.
"""

import json
import os
import re
import shutil
from pathlib import Path

from ops.clients.docker import Docker
from ops.errors import UserError
from ops.ownership import shown
from ops.paths import docker_config_dir

# How Docker Hub is called in config.json, and as which host it answers.
_HUB = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")
_IPTABLES = (
    "this kernel lacks a table that Docker's iptables need; run: sudo modprobe -a iptable_raw iptable_nat iptable_filter && "
    "printf 'iptable_raw\\niptable_nat\\niptable_filter\\n' | sudo tee /etc/modules-load.d/docker.conf && "
    "sudo systemctl restart docker (in WSL: wsl --update and wsl --shutdown in Windows)"
)
# Debian's and Ubuntu's iptables is the newer kind, and WSL's kernels before 5.15 and those of small boards lack what it needs.
_NFT = (
    "this kernel has no nf_tables, by which iptables works here; run: "
    "sudo update-alternatives --set iptables /usr/sbin/iptables-legacy && "
    "sudo update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy && "
    "sudo systemctl restart docker (in WSL: wsl --update and wsl --shutdown in Windows)"
)
# Among the daemon's security options, without a further word.
REMAPPED_OPTION = "name=userns"
REMAPPED = (
    "gives containers other users than the host's (userns-remap), and then none may have the host's network, as the builds of "
    "images and the stack's firewall do"
)
# Docker keeps images, containers and volumes of each mapping in a separate folder.
WITHOUT_REMAPPING = (
    'take "userns-remap" out of /etc/docker/daemon.json, then run: sudo systemctl restart docker (what the daemon has now is '
    "hidden until the line is back)"
)
# Part of a message -> the cure. In this order: the raw table's message has both words of the next.
_CURES: tuple[tuple[str, str], ...] = (
    (
        # With a body that is not JSON, as of Docker Hub's limit of requests, Docker names no more than the number.
        r"toomanyrequests|pull rate limit|429 Too Many Requests|HTTP 429 ",
        "the registry's limit of pulls is reached for this address; run docker login with a free account, which has its own "
        "limit, or wait an hour, then run this again: what is there is not pulled again",
    ),
    (r"Failed to initialize nft|\(nf_tables\): +[A-Z]+_[A-Z]+ failed|Could not fetch rule set generation id", _NFT),
    (r"can't initialize iptables table|-t raw .*iptables failed|iptables failed: .*-t raw|Table does not exist", _IPTABLES),
    (
        r"iptables\S* ?:? ?(executable file )?not found|exec: \"iptables\"",
        "Docker finds no iptables; run: sudo apt-get install -y iptables && sudo systemctl restart docker",
    ),
)


def cure(text: str) -> str:
    """What to do about a message of Docker's, as a clause; "" for one that is not known here."""
    if named := re.search(r"docker-credential-([\w.-]+)[^\n]*not found", text):
        return _without_helper(config_file(), "credsStore or credHelpers", named[1])
    return next((cure for pattern, cure in _CURES if re.search(pattern, text)), "")


def config_file() -> Path:
    """The user's file of docker's, with the logins of registries."""
    return docker_config_dir() / "config.json"


def check_logins() -> None:
    """UserError where the file of docker's names a program for logins that is not there: no image could be pulled or built.

    Docker Desktop leaves ``credsStore: desktop.exe`` behind. A program for another registry than Docker Hub is not asked here.
    """
    path = config_file()
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, UnicodeDecodeError) as failed:
        raise UserError(
            f"{shown(path)}: cannot be read ({getattr(failed, 'strerror', None) or 'no text'}); correct it"
        ) from failed
    try:
        config = json.loads(text)
    except ValueError as wrong:
        raise UserError(f"{shown(path)}: is not valid JSON, so docker ignores its logins; correct it or move it away") from wrong
    if not isinstance(config, dict):
        raise UserError(f"{shown(path)}: is not a configuration of docker; correct it or move it away")
    helpers = config.get("credHelpers")
    for host in _HUB:
        if isinstance(helpers, dict) and (helper := helpers.get(host)):
            _check_helper(path, f'credHelpers "{host}"', str(helper))
            return
    if store := config.get("credsStore"):
        _check_helper(path, "credsStore", str(store))


def _check_helper(path: Path, key: str, helper: str) -> None:
    if shutil.which(f"docker-credential-{helper}") is None:
        raise UserError(_without_helper(path, key, helper))


def _without_helper(path: Path, key: str, helper: str) -> str:
    return (
        f"{shown(path)}: {key} names docker-credential-{helper}, which is not on PATH (as Docker Desktop leaves it behind); "
        "remove that line from the file"
    )


def refuse_snap() -> None:
    """UserError for the docker command of the snap: it sees neither /tmp nor hidden folders, where the contexts of builds are."""
    found = shutil.which("docker")
    # Each command of a snap is a link to /usr/bin/snap.
    if found and (found.startswith("/snap/") or Path(found).resolve().name == "snap"):
        raise UserError(
            f"Docker: {found} is of the snap package, which sees neither /tmp nor hidden folders and so cannot build the images; "
            "run: sudo snap disable docker (its data stays), then sudo apt-get install -y docker.io"
        )


def rootless_socket() -> str:
    """The address of this user's rootless daemon, if there is one; else ""."""
    folder = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    path = Path(folder) / "docker.sock"
    return f"unix://{path}" if path.exists() else ""


def is_rootless(docker: Docker) -> bool:
    """Whether a daemon runs without root, where it has no say over the host's network."""
    return _has_option(docker, "rootless")


def refuse_remapped(docker: Docker) -> None:
    """UserError for a daemon with userns-remap, on which no image could be built: each build has the host's network."""
    if _has_option(docker, REMAPPED_OPTION):
        raise UserError(f"Docker: the daemon at {docker.host} {REMAPPED}; {WITHOUT_REMAPPING}")


def _has_option(docker: Docker, name: str) -> bool:
    try:
        return name in docker.run("info", "--format", "{{json .SecurityOptions}}")
    except UserError:
        return False


def of_containers(docker: Docker, stack: str) -> str:
    """The cure for what Docker noted on a container of the stack that did not start; "" where it is not known here."""
    try:
        ids = docker.run("ps", "--all", "--quiet", "--filter", f"label=skyvern.stack={stack}").split()
        return cure(docker.run("inspect", "--format", "{{.State.Error}}", *ids)) if ids else ""
    except UserError:
        return ""
