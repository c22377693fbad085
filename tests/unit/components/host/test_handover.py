"""The hooks around a container that is replaced, against a docker program that keeps its containers in a file."""

import asyncio
import json
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from components.host import service
from components.host.handover import Handover
from components.settings import Settings
from ops.stack import impact
from tests.support import program

HOST = "unix:///run/other.sock"
NAME = "skyvern-prod-gateway"
PROGRAM = """\
#!{python}
import json, os, pathlib, sys
file = pathlib.Path({file!r})
known = json.loads(file.read_text())
assert sys.argv[1:3] == ["--host", {host!r}], sys.argv
assert "DOCKER_HOST" not in os.environ
match sys.argv[3:]:
    case ["ps", "--all", "--quiet", "--filter", asked]:
        print(*[one for one, name in known["names"].items() if f"name=^{{name}}$" == asked])
    case ["rename", old, new]:
        if new in known["names"].values():
            sys.exit(f"{{new}} is in use")
        known["names"] = {{one: new if name == old else name for one, name in known["names"].items()}}
    case ["rm", "--force", gone]:
        known["names"] = {{one: name for one, name in known["names"].items() if name != gone}}
    case ["logs", "--tail", "20", _]:
        print("unexpected token s3cret-of-the-login", file=sys.stderr)
    case ["inspect", "--format", _, _]:
        print(json.dumps(["LOGIN=s3cret-of-the-login", "TERM=xterm"]))
file.write_text(json.dumps(known))
"""


class Daemon:
    """Container -> name."""

    def __init__(self, file: Path, names: Mapping[str, str]) -> None:
        self.file = file
        self.write(names)

    def write(self, names: Mapping[str, str]) -> None:
        self.file.write_text(json.dumps({"names": names}))

    def names(self) -> Any:
        return json.loads(self.file.read_text())["names"]


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    program, file = tmp_path / "bin" / "docker", tmp_path / "containers.json"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable, file=str(file), host=HOST))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("DOCKER_HOST", "tcp://somebody.else:2375")
    return Daemon(file, {"11": NAME, "22": "skyvern-prod-gateway-2"})


def handover(host: str | None = HOST) -> Handover:
    return Handover(NAME, SimpleNamespace(future=lambda: asyncio.sleep(0, host)))  # type: ignore[arg-type]


def failed(operation: str) -> pulumi.ErrorHookArgs:
    return SimpleNamespace(failed_operation=operation)  # type: ignore[return-value]


def around(host: Handover, operation: str | None = None) -> None:
    """What Pulumi calls before the new container is made, and after it has failed."""

    async def call() -> None:
        await host.rename(None)  # type: ignore[arg-type]
        if operation is not None:
            assert await host.take_back(failed(operation)) is False

    asyncio.run(call())


def test_the_old_one_gives_its_name_away(daemon: Daemon) -> None:
    around(handover())
    assert daemon.names() == {"11": f"{NAME}-11", "22": "skyvern-prod-gateway-2"}


def test_one_that_nobody_has_is_free(daemon: Daemon) -> None:
    daemon.write({})
    around(handover(), "create")
    assert daemon.names() == {}


def test_a_new_one_that_fails_is_removed_and_the_old_one_has_its_name_again(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "error", said.append)
    host = handover()
    around(host)
    daemon.write({**daemon.names(), "33": NAME})
    asyncio.run(host.take_back(failed("create")))
    assert daemon.names() == {"11": NAME, "22": "skyvern-prod-gateway-2"}
    (line,) = said
    assert line.endswith("what it said:\nunexpected token (value of LOGIN)")


def test_one_that_docker_refused_to_make_is_none(daemon: Daemon) -> None:
    around(handover(), "create")
    assert daemon.names()["11"] == NAME


def test_an_old_one_that_does_not_go_takes_nothing_back(daemon: Daemon) -> None:
    around(handover(), "delete")
    assert daemon.names()["11"] == f"{NAME}-11"


def test_what_docker_says_is_the_error(daemon: Daemon) -> None:
    daemon.write({"11": NAME, "44": f"{NAME}-11"})
    with pytest.raises(RuntimeError, match=f"docker rename on {HOST}: {NAME}-11 is in use"):
        around(handover())


def test_without_an_answer_the_name_stays_where_it_is(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first container needs no docker program, and a daemon that is away is the provider's to say."""
    monkeypatch.setattr(pulumi.log, "debug", lambda text: None)
    around(handover(host="tcp://nobody:1"), "create")
    monkeypatch.setenv("PATH", "")
    around(handover(), "create")
    assert daemon.names()["11"] == NAME


def test_a_provider_without_an_address_is_refused(daemon: Daemon) -> None:
    with pytest.raises(ValueError, match="no address"):
        around(handover(None))


@pytest.mark.parametrize(
    ("sections", "who"),
    [
        # On loopback, one container has the port.
        ({}, {"artifacts", "egress", "smoke-site"}),
        ({"edge": program.CLOUDFLARE, "monitor": {"enabled": True}}, set(impact.HANDED_OVER)),
        (
            {
                "edge": program.CLOUDFLARE,
                "monitor": {"enabled": True},
                "browser": {"type": "cdp-connect", "url": "http://10.222.222.1:9222/"},
            },
            set(impact.HANDED_OVER) - {"egress"},
        ),
    ],
)
def test_who_hands_over(sections: Mapping[str, Any], who: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Seen(Handover):
        def hooks(self, resource: str) -> pulumi.ResourceHookBinding:
            asked.append(self.container.removeprefix("skyvern-dev-"))
            return pulumi.ResourceHookBinding()

    monkeypatch.setattr(service, "Handover", Seen)
    run = program.run(Settings.model_validate(sections))
    assert set(asked) == who
    # Two of them cannot use one volume; monitors take turns, and a socket is for many. Of a start the newest counts.
    mounts = [mount for part in who for mount in run.container(part).inputs.get("volumes", [])]
    assert {mount["volumeName"] for mount in mounts if not mount["readOnly"]} <= {
        "skyvern-dev-connector-started",
        "skyvern-dev-egress-started",
        "skyvern-dev-monitor",
        "skyvern-dev-postgres-socket",
    }


def test_a_handover_stops_nothing_and_its_absence_is_said() -> None:
    assert {part for part in impact.HANDED_OVER if impact.of_part(part, hands_over=True).seconds} == {"egress"}
    assert impact.of_part("gateway", hands_over=False).seconds == impact.GATEWAY_SECONDS
    assert impact.of_part("server", hands_over=True).seconds == impact.SERVER_SECONDS
