"""Which images a stack needs, which of them its daemon lacks, and the tools that building those takes.

Not here: where images come from (ops/images/source.py), and how they are made (ops/images/build.py).
"""

import os
import platform
import shutil
from collections.abc import Collection

from components.host import images
from components.host.images import ImageSource
from components.settings import CloudflareEdge, NgrokEdge, NoBackup, OllamaLlm, Settings
from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.machine import docker_faults, go, system

# What the kernel calls a processor -> what Docker calls it, of those that there are packages of everything for.
PROCESSORS = {"x86_64": "amd64", "aarch64": "arm64"}


def ensure_package_tools(progress: Progress) -> None:
    """Installs what building every image from packages needs: Go, debootstrap and the keys that it checks Debian with.

    Raises UserError without root, or if one of them is not available.
    """
    machine = system.observe_machine()
    if not machine.root:
        raise UserError("images: building Debian from packages (debootstrap) needs root; run it as root, or use official images")
    go.ensure_go(progress)
    search_path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = [name for name in ("debootstrap", "gpgv") if shutil.which(name, path=search_path) is None]
    # Ubuntu's debootstrap does not bring Debian's keys, and no recommended package is installed.
    missing += [] if system.DEBIAN_KEYRING.is_file() else ["debian-archive-keyring"]
    if missing:
        if not machine.debian:
            raise UserError(f"images: {', '.join(missing)} missing; install that, or set images.source to official")
        system.apt_install(missing, progress)


def image_id(docker: Docker, reference: str) -> str | None:
    """Id of the image that `docker run` would find; None without one. Raises UserError when the daemon does not answer."""
    # Not `image ls`: from Docker 29 on it leaves out what was pulled by digest.
    try:
        return docker.run("image", "inspect", "--format", "{{.Id}}", reference).strip() or None
    except UserError as failed:
        # The daemon's words, in 20.10 as in 29; any other failure is a daemon that does not answer.
        if "no such image" in str(failed).lower():
            return None
        raise


def present(docker: Docker, reference: str) -> bool:
    """Whether the daemon has the image. Raises UserError when it does not answer."""
    return image_id(docker, reference) is not None


def asked_for(settings: Settings) -> frozenset[str]:
    """Images of the parts that only some stacks have."""
    optional = {"llm"} if isinstance(settings.llm, OllamaLlm) else set[str]()
    if not isinstance(settings.backup, NoBackup) or settings.database.elsewhere:
        # Its image has the client that makes the roles there.
        optional.add("backup")
    if settings.monitor.enabled:
        optional.add("monitor")
    match settings.edge:
        case CloudflareEdge(connector_image=None):
            optional.add("cloudflared")
        case NgrokEdge(connector_image=None):
            optional.add("ngrok")
    return frozenset(optional)


def parts(source: ImageSource, optional: frozenset[str] = frozenset()) -> list[str]:
    """The images that run in a stack, in build order; ``debian``, ``caddy`` and ``ollama`` are only built on."""
    only_bases = {base for bases in images.BASES.values() for base in bases} - images.RUN_AS_WELL
    left_out = only_bases | (images.OPTIONAL - optional)
    return [image for image in images.references(source) if image not in left_out]


def running_images(settings: Settings) -> dict[str, str]:
    """Image -> reference of everything that runs in a stack with these settings, in build order."""
    references = images.references(settings.images.source)
    return {image: references[image] for image in parts(settings.images.source, asked_for(settings))}


def outstanding(docker: Docker, source: ImageSource, optional: frozenset[str] = frozenset()) -> list[str]:
    """The images to build or pull, bases before what is built on them, and no base that is not needed."""
    references = images.references(source)
    wanted = parts(source, optional)
    missing: list[str] = []

    def visit(image: str) -> None:
        # The builder pulls public bases by itself.
        public_base = source == "official" and image in images.OFFICIAL and image not in wanted
        if image in missing or public_base or present(docker, references[image]):
            return
        if references[image] not in images.OFFICIAL.values():
            for base in images.BASES[image]:
                visit(base)
        missing.append(image)

    for image in wanted:
        visit(image)
    return missing


def from_registry(docker: Docker, source: ImageSource, missing: Collection[str]) -> list[str]:
    """The public images that making the missing ones takes from a registry: those that are not on the daemon."""
    if source == "packages":
        return []
    references = images.references(source)
    taken = {base for name in missing for base in ((name,) if name in images.OFFICIAL else images.BASES[name])}
    return sorted(image for image in taken & set(images.OFFICIAL) if image in missing or not present(docker, references[image]))


def refuse_processor(docker: Docker, missing: Collection[str]) -> None:
    """UserError where the images would not run on the daemon's machine, which may be another one than this."""
    host = docker.run("version", "--format", "{{.Server.Arch}}").strip()
    if host and host not in PROCESSORS.values():
        raise UserError(
            f"images: the Docker host {docker.host} is {host}, and Skyvern's browser driver (Playwright) is made for "
            f"{' and '.join(PROCESSORS.values())} only; use a host with one of these"
        )
    here = PROCESSORS.get(platform.machine(), platform.machine())
    if host and "debian" in missing and here != host:
        raise UserError(
            f"images: Debian is made of packages on this machine ({here}), and the Docker host {docker.host} is {host}; run this "
            "there, or set images.source to official"
        )


def prepare(docker: Docker, source: ImageSource, progress: Progress, optional: frozenset[str] = frozenset()) -> list[str]:
    """The images to build or pull, after their tools are installed; UserError if the host lacks one, or cannot run the images."""
    missing = outstanding(docker, source, optional)
    if missing:
        refuse_processor(docker, missing)
        docker_faults.check_logins()
    if "debian" in missing:
        ensure_package_tools(progress)
    elif "caddy" in missing:
        go.ensure_go(progress)
    return missing
