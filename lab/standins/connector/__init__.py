"""The image of the stand-in connector: a static program (agent/) under cloudflared's name, and nothing else.

Not here: the program (agent/main.go), and the edge that it dials (lab/standins/edge).
"""

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ops.clients import process
from ops.clients.docker import Docker
from ops.machine import go

NAME = "localhost/skyvern/rehearsal-connector"
_SOURCE = Path(__file__).parent / "agent"


def ensure_image(docker: Docker, edge: int | str) -> str:
    """Makes the image on a daemon unless it exists; returns its reference, for ``edge.connector_image``.

    edge: the port on which the edge listens on the Docker host, or its address as ``HOST:PORT``.
    """
    reference = f"{NAME}:{context_hash(edge)}"
    if not docker.run("image", "ls", "--quiet", reference).strip():
        with tempfile.TemporaryDirectory(prefix="skyvern-connector-") as folder:
            archive = Path(folder) / "root.tar"
            archive.write_bytes(_archive(compile_agent(docker, Path(folder)), edge))
            docker.run("import", archive, reference)
    return reference


def context_hash(edge: int | str) -> str:
    """12 hex digits over the program's source and the address that it dials."""
    digest = hashlib.sha256(f"{edge}\n".encode())
    for path in _sources():
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def compile_agent(docker: Docker | None, folder: Path) -> Path:
    """The static program, for the daemon's machine or (None) for this machine."""
    go.ensure_go(lambda line: None)
    environment = go.variables()
    if docker is not None:
        environment |= {"GOOS": "linux", "GOARCH": docker.run("version", "--format", "{{.Server.Arch}}").strip()}
    program = folder / "cloudflared"
    process.capture(["go", "build", "-ldflags", "-s -w", "-o", program, "."], cwd=_SOURCE, env=environment, timeout_seconds=600)
    return program


def _sources() -> Iterator[Path]:
    yield from sorted(path for path in _SOURCE.iterdir() if path.suffix in {".go", ".mod"})


def _archive(program: Path, edge: int | str) -> bytes:
    """A root file system as a tar archive."""
    files = {"usr/local/bin/cloudflared": (program.read_bytes(), 0o755), "etc/edge": (f"{edge}\n".encode(), 0o644)}
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()
