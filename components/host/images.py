"""Which image each part runs: public ones by digest, ours by the hash of everything they are built from.

Pure, and read at every preview: no daemon, no git, no network. Not here: building them (ops/images/build.py).
"""

import datetime
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import get_args

from components.settings import ImageSource as ImageSource

# A label of PostgreSQL's volume: the source of the image that made it.
SOURCE_LABEL = "skyvern.images"

ROOT = Path(__file__).resolve().parents[2]

# `ops images digest` prints what the tags point at today, and `ops images list` what has not been looked at for long.
OFFICIAL: Mapping[str, str] = MappingProxyType(
    {
        "debian": "debian:trixie-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f",
        "cloudflared": "cloudflare/cloudflared:2026.9.3@sha256:072c067d25ccbe61d46e18f0d0723255f2bb5304f7317caa95b27031520ff92c",
        "ngrok": "ngrok/ngrok:3@sha256:14d80d083e5b53145f416bbbd36238336c9de4016c43fd950eb2eb845670583b",
        "ollama": "ollama/ollama:0.12.3@sha256:c622a7adec67cf5bd7fe1802b7e26aa583a955a54e91d132889301f50c3e0bd0",
        "postgres": "postgres:17.11-trixie@sha256:d74eeac9a635390a49bc21bd49fccd973de707e2a53a76ac49b552b8712ec46f",
    }
)
# The day on which each was last compared with what is published, and its tag that moves to whatever is newest.
COMPARED: Mapping[str, datetime.date] = MappingProxyType(
    {
        **dict.fromkeys(("debian", "cloudflared", "ngrok", "ollama"), datetime.date(2026, 11, 22)),
        "postgres": datetime.date(2026, 11, 28),
    }
)
MOVING_TAGS: Mapping[str, str] = MappingProxyType(
    {
        "debian": "debian:trixie-slim",
        "cloudflared": "cloudflare/cloudflared:latest",
        "ngrok": "ngrok/ngrok:3",
        "ollama": "ollama/ollama:latest",
        # Another major is a change of the mount, and of every stack by ops upgrade-database (docs/decisions/postgres-major.md).
        "postgres": "postgres:17-trixie",
    }
)
# Caddy is not among them: the gateway's has its own modules (images/caddy), and is compiled from Go modules for both sources.
# In build order: image -> images it is built on, each also the name of the build argument that carries the reference.
BASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "debian": (),
        "caddy": (),
        "postgres": ("debian",),
        "backup": ("postgres",),
        "egress": ("debian",),
        "artifacts": ("debian",),
        "gateway": ("debian", "caddy"),
        "server": ("debian",),
        "monitor": ("debian",),
        "ollama": ("debian",),
        "llm": ("ollama",),
    }
)
# Others are built on these, and they run as well.
RUN_AS_WELL = frozenset({"postgres"})
# Connectors, which cannot be built from packages: neither is available as a Go module.
CONNECTORS = frozenset({"cloudflared", "ngrok"})
# Run only by stacks that ask for it; every other part is in every stack.
OPTIONAL = frozenset({"backup", "llm", "monitor", *CONNECTORS})
# Files and folders from outside an image's own: name in the build context -> path in the checkout.
# refreshed.txt holds a date; a new one rebuilds everything with the Debian packages of the day (security updates).
_EVERY = {"refreshed.txt": "images/refreshed.txt"}
# The gateway serves the UI that site/ puts on Vercel: version, hash, corrections and languages are in one place.
_UI = {
    name: f"site/{name}"
    for name in ("language.css", "language.js", "locales", "localize.mjs", "patch.mjs", "texts.mjs", "ui-requirements.txt")
}
# The dashboard shows the version of Skyvern, and its pages are in the languages of the UI.
_OWN: Mapping[str, Mapping[str, str]] = {"gateway": _UI, "monitor": {"skyvern.in": "images/server/requirements.in"}}
SHARED: Mapping[str, Mapping[str, str]] = MappingProxyType({image: {**_EVERY, **_OWN.get(image, {})} for image in BASES})


def refreshed(root: Path = ROOT) -> datetime.date:
    """The day of the Debian packages in the images that are built here."""
    return datetime.date.fromisoformat((root / "images" / "refreshed.txt").read_text().strip())


def context_files(image: str, root: Path = ROOT) -> Iterator[tuple[str, Path]]:
    """(path in the build context, file) of an image, sorted by path.

    The leftovers of tools and editors are left out: hidden files, ``__pycache__``, ``*.pyc``, ``*~``.
    """
    folder = root / "images" / image
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    wanted = {inside: path for inside, path in present.items() if not _is_junk(PurePosixPath(inside))}
    shared = dict(file for inside, path in SHARED[image].items() for file in _files(inside, root / path))
    yield from sorted({**wanted, **shared}.items())


def _files(inside: str, path: Path) -> Iterator[tuple[str, Path]]:
    """A file, or what is directly in a folder, by its path in the build context."""
    if path.is_dir():
        yield from ((f"{inside}/{file.name}", file) for file in path.iterdir() if not _is_junk(PurePosixPath(file.name)))
    else:
        yield inside, path


def _is_junk(inside: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
    return hidden or inside.suffix in {".pyc", ".orig", ".rej"} or inside.name.endswith("~")


def is_executable(content: bytes) -> bool:
    """Whether a file of a context gets mode 0755 (else 0644).

    Decided by its first line and not by its mode, which a umask or a Windows file system under WSL changes.
    """
    return content.startswith(b"#!")


def context_hash(image: str, bases: Mapping[str, str], root: Path = ROOT) -> str:
    """12 hex digits over names and contents of the context and the references of the images below it."""
    digest = hashlib.sha256()
    for base in BASES[image]:
        digest.update(f"{base}={bases[base]}\n".encode())
    for inside, path in context_files(image, root):
        content = path.read_bytes()
        # The length keeps two files from reading as one.
        digest.update(f"{inside}\0{len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def references(source: ImageSource, root: Path = ROOT) -> Mapping[str, str]:
    """Image of every part, keyed by the names in ``BASES``; raises ValueError for another source.

    Source and digests of the base images are in the hash, so a change of either gives every image built on them a new tag.
    """
    if source not in get_args(ImageSource):
        raise ValueError(f"images: source {source!r} is not one of {', '.join(get_args(ImageSource))}")
    return _references(source, root)


@cache
def _references(source: ImageSource, root: Path) -> Mapping[str, str]:
    known: dict[str, str] = dict(OFFICIAL) if source == "official" else {}
    for image in BASES:
        if image not in known:
            # The registry part "localhost/" keeps a missing image from ever being looked up on a public hub, where
            # anyone could own the name.
            known[image] = f"localhost/skyvern/{image}:{context_hash(image, known, root)}"
    return MappingProxyType(known)
