"""Floods of a stack's own gateway by a stranger: its memory is bounded, nothing is killed, and another client is served.

The floods themselves are in tests/support/floods.py.
"""

import base64
from typing import Any

import httpx
import pytest

from tests.host.conftest import Checkout
from tests.support import floods

pytestmark = pytest.mark.timeout(4800)
GATEWAY, SERVER = "skyvern-dev-gateway", "skyvern-dev-server"
# Of the container's 256.
MEMORY_MIB = 200


def life(checkout: Checkout, container: str) -> tuple[Any, ...]:
    """What changes when a container is killed."""
    seen = checkout.docker.inspect(container)
    return seen["State"]["StartedAt"], seen["RestartCount"], seen["State"]["OOMKilled"], seen["State"]["Status"]


def most_memory_mib(checkout: Checkout, container: str) -> float:
    """The most that the container has had at once, files that the kernel keeps for it included."""
    # cgroup version 2, else 1.
    files = "/sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes"
    return int(checkout.docker.run("exec", container, "sh", "-c", f"cat {files} 2>/dev/null || true").split()[0]) / 2**20


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("flood", floods.FLOODS)
def test_others_are_served(checkout: Checkout, first_up: str, flood: str, seconds: int) -> None:
    app = httpx.URL(checkout.output("app_url"))
    login = "Basic " + base64.b64encode(f"skyvern:{checkout.output('ui_password')}".encode()).decode()
    session = httpx.get(app.join("/ui-session"), headers={"Authorization": login, "Sec-Fetch-Site": "same-origin"}, timeout=20)
    requests = {
        "/api/v1/heartbeat": {},
        "/v1/workflows": {"X-Api-Key": checkout.output("api_key")},
        "/api/v1/models": {"X-Api-Key": session.json()["token"]},
        "/": {"Authorization": login},
    }
    before = life(checkout, GATEWAY), life(checkout, SERVER)
    target = floods.Target("127.0.0.1", app.port or 80, f"{app.host}:{app.port}")
    # Beside the tests of two other lanes, five seconds can be slow by chance. What a flood does, it does each time.
    for _ in range(3 if seconds == 5 else 1):
        with floods.flood(flood, target, seconds + 5):
            waited = floods.waits(target, requests, seconds)
        assert (life(checkout, GATEWAY), life(checkout, SERVER)) == before, "ended or started again"
        if not floods.kept_waiting(waited):
            break
    assert most_memory_mib(checkout, GATEWAY) < MEMORY_MIB
    assert floods.kept_waiting(waited) == []
    floods.assert_recovered(target, requests)
