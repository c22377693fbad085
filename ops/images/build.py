"""Builds the images that components/host/images.py names, on the daemon that will run them.

Images are built before a plan and not by it: a build has progress, a certificate bundle and minutes, and Pulumi's provider has no
way to show or pass them. Only what is missing is built. Not here: which image a part runs, and pulling at run time.
"""

import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from components.host import images
from components.host.images import ImageSource
from components.settings import HostSettings
from ops.clients import process, proxies
from ops.clients.docker import Docker
from ops.clients.swarm import Swarm
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.images import needs, spread
from ops.machine import docker_faults, go
from ops.paths import cache_dir

# Measured on 2 cores with a near mirror, rounded up; they let a person decide whether to wait.
EXPECTED_MINUTES = {
    "debian": 2,
    "caddy": 3,
    "cloudflared": 1,
    "ngrok": 1,
    "postgres": 1,
    "backup": 1,
    "egress": 1,
    "monitor": 1,
    "artifacts": 1,
    "gateway": 1,
    "server": 7,
    "ollama": 6,
    "llm": 1,
}
CERTIFICATE_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
SYSTEM_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
# On a public image that the builder fetches with it: Ollama's has 2 GB, here at 50 Mbit/s.
EXPECTED_MINUTES_OFFICIAL = {"llm": 8}
# A fixed date on every file of a context, so that layers do not depend on when the checkout was made.
CONTEXT_TIME = 1735689600


def build(
    docker: Docker,
    source: ImageSource,
    progress: Progress,
    optional: frozenset[str] = frozenset(),
    stop: threading.Event | None = None,
    missing: list[str] | None = None,
    *,
    host: HostSettings,
) -> None:
    """Builds or pulls what is missing, in dependency order, with a line before, every minute and after each image.

    On a Swarm, every machine then gets them.

    optional: what this stack asks for beyond the parts that every stack has. stop: no further image is begun once it is set.
    missing: what needs.prepare has answered, where it was asked before. host: of the stack file, for its proxy and certificates.
    Raises UserError with the log file of the image that failed, or when the host lacks a tool for the images from packages.
    """
    references = images.references(source)
    if missing is None:
        missing = needs.prepare(docker, source, progress, optional)
    if missing:
        _make(docker, missing, source, progress, stop, host)
    else:
        progress(f"all {len(needs.parts(source, optional))} images are present")
    if isinstance(docker, Swarm) and not (stop is not None and stop.is_set()):
        spread.spread(docker, [references[image] for image in needs.parts(source, optional)], progress)


def _make(
    docker: Docker,
    missing: Sequence[str],
    source: ImageSource,
    progress: Progress,
    stop: threading.Event | None,
    host: HostSettings,
) -> None:
    references = images.references(source)
    minutes = sum(expected_minutes(image, source) for image in missing)
    progress(f"{len(missing)} to build or pull: {', '.join(missing)}; about {minutes} min in all on 2 cores")
    for image in missing:
        if stop is not None and stop.is_set():
            return
        reference = references[image]
        with _reported(image, expected_minutes(image, source), progress):
            try:
                if reference in images.OFFICIAL.values():
                    process.stream(docker.command("pull", "--quiet", reference), env=docker.environment(), log=_log_file(image))
                else:
                    _build_image(docker, image, reference, references, host)
            except UserError as failed:
                if cure := docker_faults.cure(str(failed)):
                    raise UserError(f"image {image}: {cure} (log: {_log_file(image)})") from failed
                raise


def expected_minutes(image: str, source: ImageSource) -> int:
    """How long it takes to build or pull one image."""
    own = EXPECTED_MINUTES_OFFICIAL if source == "official" else {}
    return own.get(image, EXPECTED_MINUTES[image])


@contextmanager
def _reported(image: str, expected: int, progress: Progress) -> Iterator[None]:
    started = time.monotonic()
    progress(f"{image}: about {expected} min, log: {_log_file(image)}")
    done = threading.Event()

    def report() -> None:
        # A build of minutes without a line looks like one that hangs.
        while not done.wait(60):
            progress(f"{image}: {(time.monotonic() - started) / 60:.0f} of about {expected} min")

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
    progress(f"{image}: done in {time.monotonic() - started:.0f} s")


def _build_image(docker: Docker, image: str, reference: str, references: Mapping[str, str], host: HostSettings) -> None:
    with tempfile.TemporaryDirectory(prefix=f"skyvern-image-{image}-") as folder:
        context = Path(folder) / "context"
        copy_context(image, context, host.certificates)
        if image == "debian":
            _import_debian(docker, context, Path(folder), reference)
            return
        if image == "caddy":
            _compile_caddy(docker, context)
        command = build_command(docker, image, references, context, host.proxy)
        process.stream(command, env=build_environment(docker), log=_log_file(image))


def copy_context(image: str, target: Path, company: str | None = None) -> None:
    """The build context of an image in a new folder: the hashed files with fixed modes and dates, and ``ca.crt``.

    ca.crt is this machine's certificate bundle, empty when no variable names one; it is used in builder stages only and is not
    part of the hash. company: certificates that come on top (``host.ca_file``).
    """
    target.mkdir(parents=True)
    target.chmod(0o755)
    contents = {inside: path.read_bytes() for inside, path in images.context_files(image)}
    for inside, content in {**contents, "ca.crt": _trusted(company)}.items():
        file = target / inside
        file.parent.mkdir(parents=True, exist_ok=True)
        file.parent.chmod(0o755)
        file.write_bytes(content)
        file.chmod(0o755 if images.is_executable(content) else 0o644)
        os.utime(file, (CONTEXT_TIME, CONTEXT_TIME))


def _trusted(company: str | None) -> bytes:
    bundle = certificate_bundle()
    if company is None:
        return b"" if bundle is None else bundle.read_bytes()
    # It replaces what the builder trusts, so the public ones come first.
    public = bundle or (SYSTEM_BUNDLE if SYSTEM_BUNDLE.is_file() else None)
    return (b"" if public is None else public.read_bytes().rstrip() + b"\n") + company.encode()


def certificate_bundle() -> Path | None:
    """The bundle that this machine's tools trust by a variable, if any."""
    named = [Path(os.environ[variable]) for variable in CERTIFICATE_VARIABLES if os.environ.get(variable)]
    return next((path for path in named if path.is_file()), None)


def build_command(
    docker: Docker, image: str, references: Mapping[str, str], context: Path, proxy: str | None = None
) -> list[str]:
    """``docker build`` for an image, with the references of the images it is built on. proxy: where the shell names none."""
    arguments = [f"{base.upper()}={references[base]}" for base in images.BASES[image]]
    # In the key of the layers that install packages, so that a new date really asks the mirrors.
    arguments.append(f"REFRESHED={(context / 'refreshed.txt').read_text().strip()}")
    # Named without a value, which docker takes from its environment: a proxy's address may hold a password.
    proxies.refuse_unusable()
    given = [variable for variable in PROXY_VARIABLES if os.environ.get(variable)]
    if proxy is not None and not {variable.lower() for variable in given} & {"http_proxy", "https_proxy"}:
        # Without a login in it (the stack file's schema), so it may be seen.
        arguments += [f"{variable}={proxy}" for variable in ("http_proxy", "https_proxy")]
    arguments += given
    flags = [part for argument in arguments for part in ("--build-arg", argument)]
    # The host's network: a daemon may have no default bridge, and a mirror or proxy may listen on the host only.
    return docker.command("build", "--network", "host", "--tag", references[image], *flags, context)


def build_environment(docker: Docker) -> dict[str, str]:
    """The environment that picks a builder: the daemon's own BuildKit where the CLI can use it, else the classic builder.

    A builder of another driver has its own image store, in which our base images are not.
    """
    environment = docker.environment()
    if has_buildkit(docker.command(), environment):
        return {
            **environment,
            "DOCKER_BUILDKIT": "1",
            "BUILDX_BUILDER": "default",
            "BUILDKIT_PROGRESS": "plain",
            "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        }
    return {**environment, "DOCKER_BUILDKIT": "0"}


def has_buildkit(docker: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether the docker CLI can have BuildKit build: by its plugin buildx, or by itself as until 22 (Debian 12 has 20.10)."""
    if has_buildx(docker, environment):
        return True
    try:
        told = process.capture([*docker, "--version"], env=environment).decode()
    except UserError:
        return False
    version = re.match(r"Docker version (\d+)\.", told)
    return version is not None and int(version[1]) < 23


def has_buildx(docker: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether the docker CLI has its buildx plugin. docker: the command line to which the subcommand is added."""
    try:
        process.capture([*docker, "buildx", "version"], env=environment)
    except UserError:
        return False
    return True


def _import_debian(docker: Docker, context: Path, folder: Path, reference: str) -> None:
    tar = folder / "rootfs.tar"
    process.stream(["sh", context / "rootfs.sh", folder / "work", tar], log=_log_file("debian"))
    docker.run("import", "--change", 'CMD ["bash"]', tar, reference, timeout_seconds=600)


def _compile_caddy(docker: Docker, context: Path) -> None:
    environment = {
        **go.variables(),
        # For the daemon's machine, which may be another one.
        "GOOS": "linux",
        "GOARCH": docker.run("version", "--format", "{{.Server.Arch}}").strip(),
    }
    process.stream(["go", "build", "-ldflags", "-s -w", "-o", "caddy", "."], cwd=context, env=environment, log=_log_file("caddy"))


def _log_file(image: str) -> Path:
    return cache_dir() / "logs" / f"image-{image}.log"
