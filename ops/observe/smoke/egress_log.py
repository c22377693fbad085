"""Reads the egress proxy's access log: the requests of a page in the browser, and their results.

A page cannot know whether a request reached anything: to ``fetch`` without CORS the proxy's 403 is an opaque response like
any other. So the proof is here. Pure functions; browser_checks.py passes the lines.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

# The format "request" of images/egress/squid.conf: result and status, method, URL, address that Squid connected to.
LINE = re.compile(r" (?P<result>[A-Z_]+)/(?P<status>\d{3}) (?P<method>[A-Z]+) (?P<url>\S+) (?P<peer>\S+)")
TECHNIQUES = ("fetch", "form", "iframe", "redirect", "beacon", "popup")
DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


@dataclass(frozen=True)
class Access:
    """A line of Squid's access log.

    url: the full URL, or ``host:port`` for CONNECT.
    peer: the address that Squid connected to, ``-`` for none.
    """

    result: str
    status: int
    method: str
    url: str
    peer: str

    @property
    def authority(self) -> tuple[str, int]:
        """Host (lower case, without brackets) and port of the request."""
        parts = urlsplit(f"//{self.url}" if self.method == "CONNECT" else self.url)
        return (parts.hostname or "").lower(), parts.port or DEFAULT_PORTS.get(parts.scheme, 0)

    @property
    def refused(self) -> bool:
        """Whether an access rule refused it. A name without an address counts: squid.conf allows only names that resolve."""
        return "DENIED" in self.result

    @property
    def given_up(self) -> bool:
        """Whether the page was gone before Squid had decided, so that no request was sent on.

        Observed on a busy machine, and where no name server answers: there, a name takes Docker ten seconds.
        """
        return "ABORTED" in self.result and self.peer == "-"

    @property
    def reached(self) -> bool:
        """Whether a server answered, with whatever status."""
        return not self.refused and 0 < self.status < 500 and self.peer != "-"


def parse(lines: Iterable[str]) -> list[Access]:
    """The accesses among log lines; lines of another kind (start-up, warnings) are left out."""
    matches = (LINE.search(line) for line in lines)
    return [
        Access(match["result"], int(match["status"]), match["method"], match["url"], match["peer"]) for match in matches if match
    ]


def authority(url: str) -> tuple[str, int]:
    """Host and port of a target such as ``http://[::1]:8000``."""
    return Access("", 0, "GET", url, "-").authority


def given_up(accesses: Iterable[Access], forbidden: Iterable[str]) -> list[str]:
    """The hosts among the targets of which a request was given up."""
    hosts = {authority(url)[0] for url in forbidden}
    return sorted({line.authority[0] for line in accesses if line.given_up} & hosts)


def problems(
    accesses: Iterable[Access], marker: str, forbidden: Iterable[str], control: str, *, nameless: Collection[str] = ()
) -> list[str]:
    """Why a hostile page's run does not prove that it was held, in words; empty if it does.

    marker: the random path segment of every request of the page, which distinguishes its lines from others.
    forbidden: targets that the page was given. control: a target that it must reach, so that silence does not pass for safety.
    nameless: hosts that have no address for the proxy, so that a request to them which was given up has led nowhere.
    """
    lines = list(accesses)
    targets = {authority(url): url for url in forbidden}
    # Anything not refused is a problem, also an address that merely did not answer: another network may have it.
    faults = [
        f"{line.method} {line.url}: {line.result}/{line.status} {line.peer}"
        for line in lines
        if line.authority in targets and not line.refused and not line.given_up
    ]
    # In the path: the page's own URL has the marker in its query, and loading the page is not an attempt.
    marked = [line for line in lines if f"/{marker}/" in line.url]
    if not any(line.reached and line.authority == authority(control) for line in marked):
        faults.append(f"the page did not reach {control}, so what it did not reach proves nothing")
    refused = [line for line in marked if line.refused or (line.given_up and line.authority[0] in nameless)]
    tried = {(line.authority, technique) for line in refused for technique in TECHNIQUES if line.url.endswith(technique)}
    faults += [f"the log has no refusal of {url} by fetch" for key, url in targets.items() if (key, "fetch") not in tried]
    for technique in TECHNIQUES:
        if not any((key, technique) in tried for key in targets):
            faults.append(f"the log has no refusal of a {technique}")
    # A WebSocket goes through a proxy as CONNECT, which has no path to carry the marker.
    if not any(line.method == "CONNECT" and line.authority in targets for line in lines):
        faults.append("the log has no attempt by WebSocket")
    return faults
