"""The gateway's Caddy under floods of a stranger: its memory is bounded and others are served.

Not here: the container with its limits (tests/host/test_floods.py).
"""

from pathlib import Path

import pytest

from tests.engine.gateways import SESSION_TOKEN, Double, running
from tests.support import floods
from tests.support.security_table import API_KEY, LOGIN, OWN_PAGE

# Of 256 in the stack.
MEMORY_MIB = 180


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("flood", floods.FLOODS)
def test_others_are_served(caddy: Path, double: int, tmp_path: Path, flood: str, seconds: int) -> None:
    # A key from the stack's outputs, a token of the UI's, and the UI.
    requests = {
        "/api/v1/heartbeat": {},
        "/api/v1/workflows": {"X-Api-Key": API_KEY},
        "/v1/workflows": {"X-Api-Key": SESSION_TOKEN},
        "/": LOGIN,
    }
    # The container's limits of CPU and memory are not those of this process.
    with running(caddy, tmp_path, "loopback", double, environment={"GOMAXPROCS": "1"}) as gateway:
        asked = len(Double.checked)
        assert gateway.ask("localhost", "/ui-session", {**LOGIN, **OWN_PAGE}).status == 200
        target = floods.Target("127.0.0.1", gateway.port, "localhost")
        with floods.flood(flood, target, seconds + 5):
            waited = floods.waits(target, requests, seconds)
        floods.assert_served(waited)
        assert gateway.memory_mib() < MEMORY_MIB
        # Of unknown keys Skyvern hears as many as the limit lets through.
        assert len(Double.checked) - asked <= 20 + 2 * (seconds + 6)
