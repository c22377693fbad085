"""Generated settings: valid ones give a safe program, broken ones an error that names the field."""

import json
import re
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from components.settings import Settings, SettingsError, parse
from tests.property.examples import one_in
from tests.property.stack_files import SECRETS, STACK_FILES
from tests.support import program
from tests.support.program import Program, Secret, plain

WRONG_VALUES: st.SearchStrategy[Any] = st.sampled_from([None, "", -1, [], {"x": 1}, "Δ", 10**9])
# The one of them that a field takes: nothing where it may be left out, any number where the machine alone sets a limit, a letter
# where another program decides what a name is. No other field takes any.
TAKES: dict[str, Any] = {
    **dict.fromkeys(
        (
            "backup.endpoint",
            "backup.folder",
            "browser.host_header",
            "deployment.only_from_main",
            "edge.cell",
            "edge.connector_image",
            "edge.firewall_ruleset_id",
            "frontend.project",
            "frontend.vercel_app",
            "host.proxy",
            "llm.secondary_key",
            "llm.vision",
            "smtp.sender",
            "retention.artifacts",
            "retention.downloads",
            "retention.logs",
            "retention.videos",
            "server.max_runs",
            "server.max_sessions",
            "storage.endpoint",
        )
    ),
    "edge.access_domains": [],
    "edge.access_emails": [],
    "edge.tunnel_alert_emails": [],
    "edge.tunnel_alert_webhooks": [],
    "edge.cells": [],
    **dict.fromkeys(("frontend.branch", "llm.model", "smtp.password"), "Δ"),
    **dict.fromkeys(("edge.memory_mib", "edge.rate_limit_requests", "llm.memory_mib", "server.memory_mib"), 10**9),
    **dict.fromkeys(("rotation.api_key", "rotation.database", "rotation.gateway", "rotation.tunnel", "rotation.ui_login"), 10**9),
}


def sent(value: Any) -> Any:
    """A comparable form of what was sent, secrets opened."""
    return json.dumps(plain(value), sort_keys=True)


@one_in(8)
@given(raw=STACK_FILES)
def test_every_valid_stack_file_gives_a_safe_program(raw: dict[str, Any]) -> None:
    run = program.run(parse(raw, file="x", secret_keys=SECRETS))
    names = [one.inputs["name"] for one in run.registrations if one.type.startswith("docker:index/")]
    kinds = [(one.type, one.inputs["name"]) for one in run.registrations if one.type.startswith("docker:index/")]
    assert len(set(kinds)) == len(kinds), "two resources of one kind share a physical name"
    assert all(name.startswith("skyvern-dev-") for name in names)
    # But as a network of private addresses, which the firewall refuses.
    assert not re.search(r"0\.0\.0\.0(?!/8)", sent([one.inputs for one in run.registrations]))
    secret = raw.get("llm", {}).get("api_key")
    # A model that is named like the key would be found where it belongs.
    assume(secret is None or secret not in raw["llm"].get("model", ""))
    clear = json.dumps([one.inputs for one in run.registrations], default=lambda item: "" if isinstance(item, Secret) else item)
    assert secret is None or secret not in clear
    for container in run.of_type("docker:index/container:Container"):
        assert container.inputs["readOnly"] is True
        assert container.inputs["memory"] == container.inputs["memorySwap"]
        assert all(port["ip"] == "127.0.0.1" for port in container.inputs.get("ports", []))
        own_profile = any(option.startswith("seccomp=") for option in container.inputs["securityOpts"])
        assert not own_profile or container.inputs["hostname"] == "server"
        assert "unconfined" not in sent(container.inputs["securityOpts"])
        keys = [plain(element).partition("=")[0] for element in container.inputs.get("envs", [])]
        assert keys == sorted(set(keys)), "an unsorted or doubled variable shows up as a change at some later plan"
    assert "*" not in run.environment("server")["ALLOWED_ORIGINS"]
    assert "smtp" not in raw or raw["smtp"]["password"] not in clear
    token = raw.get("edge", {}).get("api_token") or raw.get("edge", {}).get("authtoken")
    assert token is None or token not in clear
    frontend = raw.get("frontend", {"provider": "gateway"})
    assert frontend["provider"] == "gateway" or frontend["api_token"] not in clear
    assert_reachable(run, raw.get("edge", {"provider": "none"})["provider"], frontend)
    # A page is behind a sandbox wherever Skyvern starts the browser, unless the stack file says no.
    browser = raw.get("browser", {})
    assert ("SCMP_ACT" in sent(run.container("server").inputs["securityOpts"])) == (
        browser.get("type") != "cdp-connect" and browser.get("sandbox", True)
    )
    published = {one.inputs["hostname"] for one in run.of_type("docker:index/container:Container") if one.inputs.get("ports")}
    assert published - {"gateway"} == ({"egress"} if browser.get("type") == "cdp-connect" else set())
    # What only Ollama needs is in no other stack.
    of_ollama = {f"skyvern-dev-{part}" for part in ("ollama", "ollama-pull", "llm", "models")} & set(names)
    assert len(of_ollama) == (4 if raw.get("llm", {}).get("provider") == "ollama" else 0)


def assert_reachable(run: Program, edge: str, frontend: dict[str, Any]) -> None:
    """Every host has its site, its ingress rule and its record, all of them lead to the gateway, and no port is open beside.

    The UI on Vercel is at one host more, whose record leads to no tunnel, or at an address of Vercel's.
    """
    caddyfile = run.container("gateway").inputs["command"][1]
    sites = {line.split("/")[2].split(":")[0] for line in caddyfile.splitlines() if line.startswith("http://")} - {"127.0.0.1"}
    assert bool(run.container("gateway").inputs.get("ports")) == (edge == "none")
    by_proxy: dict[bool, set[str]] = {True: set(), False: set()}
    for record in run.of_type("cloudflare:index/dnsRecord:DnsRecord"):
        by_proxy[record.inputs["proxied"]].add(record.inputs["name"])
    records = by_proxy[True]
    configs = run.of_type("cloudflare:index/zeroTrustTunnelCloudflaredConfig:ZeroTrustTunnelCloudflaredConfig")
    if edge != "cloudflare":
        assert not [one for one in run.registrations if one.type.startswith("cloudflare:")]
        return
    (config,) = configs
    *rules, last = config.inputs["config"]["ingresses"]
    assert last == {"service": "http_status:404"}
    assert [rule["hostname"] for rule in rules] == sorted(records)
    assert {rule["service"] for rule in rules} == {"http://gateway:8080"}
    assert sites == records
    origin = json.loads(run.environment("server")["ALLOWED_ORIGINS"])[0]
    host = origin.removeprefix("https://")
    assert host.startswith(("app.", "shop-app.")) or host == f"{frontend.get('vercel_app')}.vercel.app"
    assert by_proxy[False] == ({host} if frontend["provider"] == "vercel" and "vercel_app" not in frontend else set())
    assert [one.inputs["domain"] for one in run.of_type("vercel:index/projectDomain:ProjectDomain")] == (
        [host] if frontend["provider"] == "vercel" else []
    )


@one_in(20)
@given(raw=STACK_FILES)
def test_the_same_stack_file_gives_the_same_plan(raw: dict[str, Any]) -> None:
    def plan() -> list[tuple[str, str, str]]:
        run = program.run(parse(raw, file="x", secret_keys=SECRETS))
        return sorted((one.type, one.name, sent(one.inputs)) for one in run.registrations)

    assert plan() == plan()


@one_in(20)
@given(raw=STACK_FILES)
def test_dev_and_prod_share_nothing_on_one_host(raw: dict[str, Any]) -> None:
    def names(stack: str) -> set[str]:
        run = program.run(parse(raw, file="x", secret_keys=SECRETS), stack=stack)
        return {one.inputs["name"] for one in run.registrations if one.type.startswith("docker:index/")}

    assert not names("dev") & names("prod")


@given(raw=STACK_FILES, data=st.data(), value=WRONG_VALUES)
def test_any_broken_field_is_named(raw: dict[str, Any], data: st.DataObject, value: Any) -> None:
    paths = [(section, key) for section, keys in sorted(raw.items()) for key in sorted(keys)]
    assume(paths)
    section, key = data.draw(st.sampled_from(paths))
    field = f"{section}.{key}"
    broken = {**raw, section: {**raw[section], key: value}}
    try:
        parse(broken, file="Pulumi.dev.yaml", secret_keys=SECRETS)
    except SettingsError as wrong:
        for line in wrong.lines:
            # What goes together is told where it has to change.
            partners = (
                "Pulumi.dev.yaml: edge.",
                "Pulumi.dev.yaml: frontend.",
                "Pulumi.dev.yaml: images.source",
                "Pulumi.dev.yaml: smtp.",
            )
            assert line.startswith((f"Pulumi.dev.yaml: {field}", *partners)), line
            assert "\n" not in line
    else:
        assert (field, value) in TAKES.items(), f"{field} took {value!r}"


@given(raw=STACK_FILES)
def test_a_round_trip_changes_nothing(raw: dict[str, Any]) -> None:
    first = parse(raw, file="x", secret_keys=SECRETS)
    dumped = first.model_dump()
    for section, key in (
        ("llm", "api_key"),
        ("edge", "api_token"),
        ("edge", "authtoken"),
        ("frontend", "api_token"),
        ("smtp", "password"),
        ("backup", "private_key"),
        ("backup", "secret_access_key"),
    ):
        if dumped[section].get(key) is not None:
            dumped[section][key] = dumped[section][key].get_secret_value()
    assert Settings.model_validate(dumped) == first
