"""Whether browsers reach the internet, asked as they ask: from the server's container, through the egress proxy.

A container that runs and is healthy proves nothing about that: its host may not resolve names for it, not forward its packets, or
send larger ones than the path takes. Each fails at another step. Not here: what browsers must not reach (isolation.py).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.endpoints import EGRESS_URL
from ops.clients.docker import PYTHON, Docker
from ops.errors import UserError

# The time of its own steps, together, and the start of Python.
SECONDS = 150
_PROBE = Path(__file__).with_name("internet_probe.py")

Step = Literal["", "proxy", "name", "private", "connect", "TLS", "certificate", "answer"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How far a request to a host got.

    step: where it failed, "" for a whole answer. detail: what was seen there. ahead_seconds: the containers' clock minus the
    host's, None if it named no time.
    """

    host: str
    step: Step
    detail: str = ""
    ahead_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why browsers do not reach the internet, as a clause, and what to do about it."""

    problem: str
    cure: str


# In the order in which a request meets them: what failed, and what to do.
_STEPS: Mapping[Step, tuple[str, str]] = {
    "proxy": ("the server does not reach the egress proxy", "restart the egress container"),
    "name": (
        "DNS fails: no name has an address",
        # With IPv6 servers alone, Docker asks 8.8.8.8 instead, without a word.
        'give Docker name servers that answer by IPv4, because the stack has no IPv6: "dns" in /etc/docker/daemon.json, then '
        "restart Docker",
    ),
    "private": (
        "DNS fails: public names have private addresses",
        'log in to the network if it asks for that, or give Docker public name servers: "dns" in /etc/docker/daemon.json',
    ),
    "connect": (
        "no connection is made",
        "let the host forward what containers send (sudo sysctl -w net.ipv4.ip_forward=1, then restart Docker), and its "
        "firewall pass ports 80 and 443",
    ),
    "TLS": (
        "connections are made, and TLS is not answered: packets of this size do not arrive",
        "write a smaller host.mtu, such as 1400, into the stack file, then script/up",
    ),
    "certificate": (
        "something else answers: the certificate is not that of the host",
        "log in to the network if it asks for that, correct the clock, or have the proxy that opens TLS leave this host alone",
    ),
    "answer": (
        "TLS works, and a large answer does not arrive",
        "write a smaller host.mtu, such as 1400, into the stack file, then script/up",
    ),
}


def ask(docker: Docker, server: str, hosts: Sequence[str], *, every: bool = False) -> list[Answer]:
    """The answers until the first whole one; with ``every`` also of hosts that are not much slower. server: a container's name.

    UserError if the container does not run the questions.
    """
    wanted = "every" if every else "first"
    proxy = EGRESS_URL.removeprefix("http://")
    printed = docker.execute(server, *PYTHON, _PROBE.read_text(), proxy, wanted, *hosts, timeout_seconds=SECONDS)
    try:
        return [Answer(**answer) for answer in json.loads(printed)]
    except (ValueError, TypeError) as strange:
        raise UserError(f"{server} does not say how far its requests got; docker restart {server}") from strange


def failure(answers: Sequence[Answer]) -> Failure | None:
    """None if a host answered. Otherwise the step that the furthest request did not pass, because the others got less far."""
    if any(not answer.step for answer in answers):
        return None
    order = list(_STEPS)
    step = max((answer.step for answer in answers), key=order.index)
    what, cure = _STEPS[step]
    seen = "; ".join(f"{answer.host}: {answer.detail}" for answer in answers if answer.step == step)
    return Failure(problem=f"browsers do not reach the internet: {what} ({seen})", cure=cure)


def clock_ahead(answers: Sequence[Answer]) -> tuple[float, str] | None:
    """The containers' clock minus that of a host outside, and the host: of several the nearest, because one may be wrong."""
    dated = [(answer.ahead_seconds, answer.host) for answer in answers if answer.ahead_seconds is not None]
    return min(dated, key=lambda pair: abs(pair[0]), default=None)
