"""Which images a stack needs, which of them its daemon lacks, and the tools that building those takes.

Not here: where images come from (ops/images/source.py), and how they are made (ops/images/build.py).
"""

import os
import shutil

from components.host import images
from components.host.images import ImageSource
from components.settings import CloudflareEdge, NgrokEdge, OllamaLlm, Settings
from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.machine import go, system


def ensure_package_tools(progress: Progress) -> None:
    """What building every image from packages needs on the host: root, Go, debootstrap and the keys that it checks Debian with.

    Raises UserError where one of them cannot be had.
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


def present(docker: Docker, reference: str) -> bool:
    """Whether the daemon has the image. Raises UserError when it does not answer."""
    # Listed, not inspected: a failed inspect cannot be told from a daemon that does not answer.
    if "@" in reference:
        repository, digest = reference.split("@")
        listed = docker.run("image", "ls", "--digests", "--format", "{{.Digest}}", repository.rpartition(":")[0])
        return digest in listed.split()
    return bool(docker.run("image", "ls", "--quiet", reference).strip())


def asked_for(settings: Settings) -> frozenset[str]:
    """Images of the parts that only some stacks have."""
    found = {"llm"} if isinstance(settings.llm, OllamaLlm) else set[str]()
    match settings.edge:
        case CloudflareEdge(connector_image=None):
            found.add("cloudflared")
        case NgrokEdge(connector_image=None):
            found.add("ngrok")
    return frozenset(found)


def parts(source: ImageSource, optional: frozenset[str] = frozenset()) -> list[str]:
    """What runs in a stack, in build order; ``debian``, ``caddy`` and ``ollama`` are only built on."""
    used_as_base = {base for bases in images.BASES.values() for base in bases}
    left_out = used_as_base | (images.OPTIONAL - optional)
    return [image for image in images.references(source) if image not in left_out]


def outstanding(docker: Docker, source: ImageSource, optional: frozenset[str] = frozenset()) -> list[str]:
    """What has to be built or pulled, bases before what is built on them. A base that nobody needs is not in it."""
    references = images.references(source)
    wanted = parts(source, optional)
    found: list[str] = []

    def visit(image: str) -> None:
        # The builder pulls public bases by itself.
        public_base = source == "official" and image in images.OFFICIAL and image not in wanted
        if image in found or public_base or present(docker, references[image]):
            return
        if references[image] not in images.OFFICIAL.values():
            for base in images.BASES[image]:
                visit(base)
        found.append(image)

    for image in wanted:
        visit(image)
    return found


def prepare(docker: Docker, source: ImageSource, progress: Progress, optional: frozenset[str] = frozenset()) -> list[str]:
    """What has to be built or pulled, with the tools for it at hand; UserError when the host lacks one."""
    missing = outstanding(docker, source, optional)
    if "debian" in missing:
        ensure_package_tools(progress)
    elif "caddy" in missing:
        go.ensure_go(progress)
    return missing
