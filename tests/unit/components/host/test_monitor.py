"""The monitor of a stack: what it may reach and read, and that a stack without one is as it was."""

from collections.abc import Mapping
from typing import Any

import pytest

from components import endpoints
from components.edge import tunnel
from components.frontend import vercel
from components.host import gateway, monitor
from components.host.firewall import Destination, destinations
from components.host.postgres import MAKE_MONITOR, ROLES_SCRIPT
from components.settings import CloudflareEdge, Settings, SettingsError, parse
from tests.support import program
from tests.support.program import VERCEL, Program, Secret, plain


def run(**sections: Any) -> Program:
    return program.run(parse({"monitor": {"enabled": True}, **sections}, file="x"))


@pytest.fixture(scope="module")
def monitored() -> Program:
    return run()


def test_it_shares_a_network_with_the_gateway_and_with_nobody_else(monitored: Program) -> None:
    on_it = {
        one.inputs["hostname"]
        for one in monitored.of_type("docker:index/container:Container")
        for network in one.inputs.get("networksAdvanced", [])
        if network["name"] == "skyvern-dev-dashboard"
    }
    assert on_it == {"gateway", "monitor"}
    assert len(monitored.container("monitor").inputs["networksAdvanced"]) == 1
    (network,) = [
        one for one in monitored.of_type("docker:index/network:Network") if one.inputs["name"] == "skyvern-dev-dashboard"
    ]
    assert network.inputs["internal"] is True


def test_it_sees_the_socket_and_its_own_notes() -> None:
    mounts = {mount["volumeName"]: mount["readOnly"] for mount in run().container("monitor").inputs["volumes"]}
    assert mounts == {
        "skyvern-dev-egress-started": True,
        "skyvern-dev-monitor": False,
        "skyvern-dev-postgres-socket": False,
    }
    with_backup = run(backup={"type": "path", "path": "/mnt/d/skyvern"}).container("monitor").inputs["volumes"]
    assert {mount["volumeName"]: mount["readOnly"] for mount in with_backup} == {**mounts, "skyvern-dev-backup": True}


@pytest.mark.parametrize(
    ("edge", "part"), [(program.CLOUDFLARE, "connector"), (program.NGROK, "ngrok"), ({"provider": "none"}, None)]
)
def test_egress_and_connector_mark_their_starts_for_it_alone(edge: Mapping[str, Any], part: str | None) -> None:
    """In memory and bounded, because whoever took one of them over may write there; apart, because they share nothing else."""
    whole, plain_one = (program.run(Settings.model_validate({"edge": edge, "monitor": {"enabled": on}})) for on in (True, False))
    marked = {"egress": "egress", **({} if part is None else {"connector": part})}
    volumes = {one.inputs["name"]: one.inputs for one in whole.of_type("docker:index/volume:Volume")}
    for name, writer in marked.items():
        volume = f"skyvern-dev-{writer}-started"
        options = volumes[volume]["driverOpts"]
        assert (options["type"], options["device"]) == ("tmpfs", "tmpfs")
        # The public images' users have no folder of their own.
        assert {"size=64k", "mode=1777", "noexec", "nosuid", "nodev"} <= set(options["o"].split(","))
        seen = {
            one.inputs["hostname"]: (mount["containerPath"], mount["readOnly"])
            for one in whole.of_type("docker:index/container:Container")
            for mount in one.inputs.get("volumes", [])
            if mount["volumeName"] == volume
        }
        assert seen == {writer: ("/run/started", False), "monitor": (f"/run/started/{name}", True)}
    assert sum("started" in name for name in volumes) == len(marked)
    assert whole.environment("monitor")["STARTED_FOLDER"] == "/run/started"
    assert not [one for one in plain_one.of_type("docker:index/volume:Volume") if "started" in one.inputs["name"]]
    if part == "connector":
        assert whole.environment(part)["TUNNEL_PIDFILE"] == "/run/started/at"
        assert "TUNNEL_PIDFILE" not in plain_one.environment(part)


def test_its_password_is_its_own(monitored: Program) -> None:
    environment = monitored.environment("monitor")
    assert {key for key, value in environment.items() if isinstance(value, Secret)} == {"PGPASSWORD"}
    roles = monitored.environment("roles")
    assert environment["PGPASSWORD"] == roles["MONITOR_PASSWORD"]
    assert plain(roles["ROLE_PASSWORD"]) != plain(roles["MONITOR_PASSWORD"])


def test_the_role_is_made_behind_skyverns_own(monitored: Program) -> None:
    (script,) = monitored.container("roles").inputs["command"]
    assert script.index("CREATE DATABASE") < script.index(MAKE_MONITOR) < script.index("touch /tmp/password-set")


def test_nothing_that_can_hold_a_secret_is_read() -> None:
    """``failure_reason`` is compared with the beginning of our own reasons, and not returned."""
    forbidden = (
        "parameters",
        "headers",
        "auth_tokens",
        "totp",
        "reasoning",
        "navigation",
        "extracted",
        "SELECT *",
        ".output,",
        " output,",
    )
    functions = MAKE_MONITOR.split("BEGIN;")[1]
    assert [word for word in forbidden if word in functions] == []
    assert functions.count("failure_reason") == 1


def test_the_dashboard_is_behind_the_login(monitored: Program) -> None:
    urls = endpoints.derive(parse({"monitor": {"enabled": True}}, file="x"))
    rules = gateway.caddyfile(urls)
    app = rules.split("\n(app) {")[1]
    assert app.index("login {$UI_LOGIN_SHA256}") < app.index("@dashboard path /dashboard /dashboard/*") < app.index("file_server")
    assert rules.count("monitor:8080") == 1
    # Caddy knows a matcher's name once in a block, and the recordings before it refuse whatever writes.
    assert "@write" not in app.split("@dashboard path")[1].split("header {")[0]
    assert app.index("import recordings") < app.index("@dashboard path")


def test_a_stack_without_one_is_as_it_was() -> None:
    without = program.run(parse({}, file="x"))
    assert without.container("roles").inputs["command"] == [ROLES_SCRIPT]
    assert "monitor" not in str(without.container("gateway").inputs)
    assert not [one for one in without.registrations if "monitor" in one.name or "dashboard" in one.name]


def test_on_vercel_the_pages_are_for_whoever_has_the_gateways_key() -> None:
    cloudflare = {"provider": "cloudflare", "domain": "example.com", "api_token": "t" * 40}
    settings = {"frontend": VERCEL, "edge": cloudflare}
    secret_keys = frozenset({"frontend", "edge"})
    urls = endpoints.derive(parse({**settings, "monitor": {"enabled": True}}, file="x", secret_keys=secret_keys))
    rules = gateway.caddyfile(urls)
    api = rules.split("\n(api) {")[1].split("\n}\n")[0]
    assert rules.count("monitor:8080") == api.count("monitor:8080") == 1
    part = api.split("route @of_the_site {")[1]
    assert part.index("error @stranger 403") < part.index("monitor:8080")
    without = endpoints.derive(parse(settings, file="x", secret_keys=secret_keys))
    assert "dashboard" not in gateway.caddyfile(without)
    assert vercel.public_variables(urls, "en")["DASHBOARD_URL"] == "https://api.example.com/dashboard"
    assert vercel.public_variables(without, "en")["DASHBOARD_URL"] == "none"


def test_minutes_by_hand_are_one_variable_and_only_where_a_file_names_them(monitored: Program) -> None:
    assert "MINUTES_BY_HAND" not in str(monitored.container("monitor").inputs["envs"])
    made = monitor.Monitor._minutes_by_hand  # the one spelling of it
    assert made({}) == {}
    expected = {"MINUTES_BY_HAND": '{"Report":0.5,"블로그":15}'}
    assert made({"블로그": 15, "Report": 0.5}) == made({"Report": 0.5, "블로그": 15}) == expected


CHANNELS = {"enabled": True, "channels": "tgram://123456789:abcdefg_hijklmnop/12315544/ mailtos://user:pass@example.com"}


def test_messages_leave_by_a_network_of_their_own() -> None:
    def told(**sections: Any) -> Program:
        return program.run(parse({"monitor": CHANNELS, **sections}, file="x", secret_keys=frozenset({"monitor"})))

    run_ = told()
    on_it = [
        one.inputs["hostname"]
        for one in run_.of_type("docker:index/container:Container")
        for network in one.inputs.get("networksAdvanced", [])
        if network["name"] == "skyvern-dev-alerts"
    ]
    assert on_it == ["monitor"]
    assert isinstance(run_.environment("monitor")["CHANNELS"], Secret)
    proxied = told(host={"proxy": "http://proxy.example.com:3128"})
    assert proxied.environment("monitor")["HTTPS_PROXY"] == "http://proxy.example.com:3128"
    assert not [one for one in run().of_type("docker:index/network:Network") if one.inputs["name"].endswith("-alerts")]


HEARTBEAT = {"enabled": True, "heartbeat": "https://hc-ping.com/0b4f2c1e"}


def test_a_heartbeat_alone_leaves_by_the_same_network() -> None:
    settings = parse(
        {"monitor": HEARTBEAT, "host": {"proxy": "http://10.0.0.9:3128"}}, file="x", secret_keys=frozenset({"monitor"})
    )
    run_ = program.run(settings)
    environment = run_.environment("monitor")
    assert environment["HEARTBEAT"] == Secret("https://hc-ping.com/0b4f2c1e")
    assert environment["HTTPS_PROXY"] == "http://10.0.0.9:3128"
    assert "CHANNELS" not in environment
    assert [one.inputs["name"] for one in run_.of_type("docker:index/network:Network") if one.inputs["name"].endswith("-alerts")]
    assert Destination(network="alerts", host="10.0.0.9", port=3128) in destinations(settings)


def test_metrics_have_a_key_and_no_login() -> None:
    settings = parse({"monitor": {"enabled": True, "metrics": True}}, file="x")
    run_ = program.run(settings)
    key = run_.outputs["metrics_key"]
    assert isinstance(key, Secret)
    assert run_.environment("gateway")["METRICS_KEY"] == key
    assert key not in run_.environment("monitor").values()
    assert plain(key) not in {plain(run_.outputs["api_key"]), plain(run_.outputs["ui_password"])}
    rules = gateway.caddyfile(endpoints.derive(settings))
    assert rules.index("@stranger not header Authorization") < rules.index("error @stranger 401") < rules.index("monitor:8080")
    # Of both hosts, before the login.
    keyed = rules.split("\n(keyed) {")[1]
    assert "route /metrics {" in keyed.split("\n(")[0]
    assert "metrics" not in gateway.caddyfile(endpoints.derive(parse({"monitor": {"enabled": True}}, file="x")))
    assert "metrics_key" not in run().outputs


def test_cloudflare_lets_the_metrics_pass_to_the_gateway() -> None:
    def rule(cells: list[str], **monitor: bool) -> str:
        edge = {"provider": "cloudflare", "domain": "example.com", "api_token": "t" * 40, "cells": cells}
        settings = parse({"edge": edge, "monitor": monitor}, file="x", secret_keys=frozenset({"edge"}))
        assert isinstance(settings.edge, CloudflareEdge)
        return tunnel.firewall_rules(endpoints.derive(settings), settings.edge)["skyvern_api_without_key"]

    assert ' and http.request.uri.path ne "/metrics" and not (' in rule([], enabled=True, metrics=True)
    assert "metrics" not in rule([], enabled=True)
    # Which cell has them, the owner of the zone does not know.
    assert "metrics" in rule(["shop"], enabled=True)


def test_what_it_may_reach_beside_the_internet_is_named() -> None:
    found = parse({"monitor": {**CHANNELS, "allow": ["10.0.0.5:587"]}}, file="x", secret_keys=frozenset({"monitor"}))
    assert destinations(found) == [Destination(network="alerts", host="10.0.0.5", port=587)]


@pytest.mark.parametrize(
    ("monitor", "line"),
    [
        ({"channels": "tgram://a/b"}, "monitor.channels: is about messages of the monitor"),
        ({"enabled": True, "quiet_hours": "23:00-07:00"}, "monitor.quiet_hours: is about messages"),
        ({"heartbeat": "https://x.example.com"}, "monitor.heartbeat: is the monitor's, and monitor.enabled is false"),
        ({"metrics": True}, "monitor.metrics: is the monitor's, and monitor.enabled is false"),
        (
            {"enabled": True, "allow": ["10.0.0.5:587"]},
            "monitor.allow: is about messages, and no monitor.channels or monitor.heartbeat is set",
        ),
        ({**HEARTBEAT, "heartbeat": "https://x.example.com/secret?msg=OK"}, "monitor.heartbeat: is not an address to which"),
        ({**HEARTBEAT, "heartbeat": "ftp://x.example.com/secret"}, "monitor.heartbeat: is not an address to which"),
        ({**CHANNELS, "quiet_hours": "11pm-7am"}, 'monitor.quiet_hours: "11pm-7am" is not two times of a day'),
        ({**CHANNELS, "channels": "123:secret/456"}, "monitor.channels: has an address without a kind"),
    ],
)
def test_each_mistake_has_its_line(monitor: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingsError) as wrong:
        parse({"monitor": monitor}, file="x", secret_keys=frozenset({"monitor"}))
    assert [text.removeprefix("x: ").startswith(line) for text in wrong.value.lines] == [True]
    assert "secret" not in str(wrong.value)


def test_channels_in_plain_text_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"monitor\.channels: is in plain text"):
        parse({"monitor": CHANNELS}, file="x")
