"""Whether Skyvern answers, and the heartbeat that tells a dead man's switch outside: a machine that is off tells nothing itself.

The address is pinged as healthchecks.io has it: ``/start`` when the monitor begins, the address itself while database and server
answer, ``/fail`` when one of them does not. It is a secret, so nothing of it is ever printed.
"""

import http.client
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Literal

Outcome = Literal["start", "ok", "fail"]
PATHS = {"start": "/start", "ok": "", "fail": "/fail"}
ANSWER_SECONDS = 10
# While all is well. What changes is told at once, and a ping that did not arrive is tried again at the next look.
EVERY = timedelta(minutes=5)
# An update restarts both for a while: until then a fault sends nothing.
PATIENCE = timedelta(minutes=5)
GATEWAY = ("gateway", 8080)


def server_answers(host: str, gateway: tuple[str, int] = GATEWAY) -> bool:
    """By Skyvern's own heartbeat through the gateway, which answers it without a key. Not by a company's proxy."""
    connection = http.client.HTTPConnection(*gateway, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/api/v1/heartbeat", headers={"Host": host})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def gateway_started(gateway: tuple[str, int] = GATEWAY) -> datetime | None:
    """When the gateway began, which it says to the monitor alone (components/host/gateway.py); None where it does not."""
    connection = http.client.HTTPConnection(*gateway, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/started")
        answer = connection.getresponse()
        return datetime.fromtimestamp(int(answer.read(20)), UTC) if answer.status == http.HTTPStatus.OK else None
    except (OSError, ValueError, OverflowError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def ping(address: str, outcome: Outcome) -> str | None:
    """Why the ping did not arrive, without the address; None where it did. By HTTPS_PROXY, if there is one."""
    try:
        # The kind of the address is checked in the stack file (components/settings/monitor.py).
        with urllib.request.urlopen(f"{address.rstrip('/')}{PATHS[outcome]}", timeout=ANSWER_SECONDS):  # noqa: S310
            return None
    except urllib.error.HTTPError as refused:
        return f"HTTP {refused.code}"
    except (OSError, ValueError, http.client.HTTPException) as failed:
        # Its text can quote the address.
        return type(getattr(failed, "reason", failed)).__name__


class Heartbeat:
    """What was pinged last, and what is to be pinged now."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._last: Outcome | None = None
        self._at: datetime | None = None
        self._bad_since: datetime | None = None

    def due(self, now: datetime, well: bool) -> Outcome | None:
        """What to ping after a look, if anything."""
        if well:
            self._bad_since = None
        elif self._bad_since is None:
            self._bad_since = now
        if self._last is None and self._at is None:
            return "start"
        if not well and self._bad_since is not None and now - self._bad_since < PATIENCE:
            return None
        outcome: Outcome = "ok" if well else "fail"
        return None if outcome == self._last and self._at is not None and now - self._at < EVERY else outcome

    def turn(self, now: datetime, well: bool) -> None:
        """Pings what is due. One that does not arrive is one line of the log."""
        outcome = self.due(now, well)
        if outcome is None:
            return
        problem = ping(self.address, outcome)
        if problem is None:
            self._last, self._at = outcome, now
        else:
            print(f"monitor: the heartbeat did not arrive: {problem}", flush=True)
