"""The rules of the stack's firewall as text, what the stack file opens in them, and how the container is placed."""

import re
import shutil
import subprocess
from typing import Any

import pytest

from components import addresses
from components.host.firewall import Destination, destinations, named, ruleset
from components.settings import Settings, parse
from ops.paths import ROOT
from ops.preview import exposure
from tests.support import program
from tests.support.program import SMTP

INNER = {"app": "br-00000000000a", "edge": "br-00000000000b"}
OUTWARD = {"outgoing": "br-00000000000c", "tunnel": "br-00000000000d"}
CHROME = {"type": "cdp-connect", "url": "http://chrome.lan:9222/", "host_header": "10.222.222.1:9223"}
LLM = {"provider": "openai-compatible", "api_key": "sk-12345678", "model": "m", "base_url": "http://10.1.2.3/v1"}
STORE = {"type": "s3", "buckets": "acme", "access_key_id": "key", "secret_access_key": "secret-of-it"}
CLOUDFLARE = {"provider": "cloudflare", "domain": "example.com", "api_token": "t" * 40}


def rules(*reachable: Destination) -> list[str]:
    return [line.strip() for line in ruleset("skyvern-dev", INNER, OUTWARD, reachable).splitlines()]


def chain(lines: list[str], name: str) -> list[str]:
    begin = lines.index(f"chain {name} {{")
    return lines[begin + 1 : lines.index("}", begin)]


def to(host: str | None, port: int, network: str = "outgoing") -> Destination:
    return Destination(network=network, host=host, port=port)


def settings(**sections: Any) -> Settings:
    return parse(sections, file="f", secret_keys=frozenset({"llm", "edge", "smtp", "storage"}))


def test_another_network_of_the_stack_is_refused_before_anything_is_accepted() -> None:
    forward = chain(rules(to("10.0.0.5", 587)), "forward")
    refused = forward.index("iifname @bridges oifname @bridges jump refuse")
    # What is before: traffic of others, and a bridge with itself (seen where br_netfilter is loaded).
    within = [f'iifname "{bridge}" oifname "{bridge}" accept' for bridge in {**INNER, **OUTWARD}.values()]
    before = [re.sub(' comment ".*"', "", line) for line in forward[1:refused]]
    assert sorted(before) == sorted(["iifname != @bridges oifname != @bridges accept", *within])


def test_from_outside_only_answers_reach_a_container() -> None:
    forward = chain(rules(), "forward")
    answers = forward.index("ct direction reply ct state established,related accept")
    assert forward[answers + 1].startswith("iifname != @bridges drop")


def test_an_inner_network_reaches_nothing_and_an_outward_one_nothing_private() -> None:
    forward = chain(rules(), "forward")
    assert forward[-5:] == [
        "iifname != @outward jump refuse",
        "jump allowed",
        "ip daddr @private jump refuse",
        "ip6 daddr != 2000::/3 jump refuse",
        "ip6 daddr @private6 jump refuse",
    ]


def test_the_host_is_refused_whatever_its_address() -> None:
    entrance = chain(rules(to(None, 5678)), "input")
    assert entrance[1:3] == ["iifname != @bridges accept", "ct direction reply ct state established,related accept"]
    assert entrance[3] == 'iifname "br-00000000000c" tcp dport 5678 accept comment "outgoing to this host, port 5678"'
    assert [line for line in entrance[4:] if "daddr" in line] == []
    assert entrance[-1] == "jump refuse"


def test_each_exception_is_for_one_network_one_address_and_one_port() -> None:
    lines = rules(
        to("10.0.0.5", 587),
        to("192.168.0.0/24", 443, "tunnel"),
        to("fd00::5", 25),
        to("mail.lan", 25),
        to("10.9.9.9", 1, "models"),
    )
    assert chain(lines, "allowed") == [
        'iifname "br-00000000000c" ip daddr 10.0.0.5/32 tcp dport 587 accept comment "outgoing to 10.0.0.5, port 587"',
        'iifname "br-00000000000d" ip daddr 192.168.0.0/24 tcp dport 443 accept comment "tunnel to 192.168.0.0/24, port 443"',
        'iifname "br-00000000000c" ip6 daddr fd00::5/128 tcp dport 25 accept comment "outgoing to fd00::5, port 25"',
        "jump named",
        'iifname @outward meta l4proto { tcp, udp } th dport 53 accept comment "name servers"',
    ]
    assert named(OUTWARD, [to("10.0.0.5", 587), to("mail.lan", 25), to(None, 1)]) == ["br-00000000000c mail.lan 25"]


@pytest.mark.parametrize(
    ("sections", "found"),
    [
        ({}, []),
        (
            {"server": {"allow": ["192.168.1.20:587", "host:5678"]}},
            ["outgoing to 192.168.1.20, port 587", "outgoing to this host, port 5678"],
        ),
        ({"edge": {**CLOUDFLARE, "allow": ["[fd00::/8]:7844"]}}, ["tunnel to fd00::/8, port 7844"]),
        # A name may lead anywhere. A host that is called "host" is not this one.
        ({"llm": LLM}, ["outgoing to 10.1.2.3, port 80"]),
        ({"llm": {**LLM, "base_url": "https://host:8443/v1"}}, ["outgoing to host, port 8443"]),
        ({"llm": {**LLM, "base_url": "https://93.184.216.34/v1"}}, []),
        ({"smtp": {**SMTP, "host": "10.1.2.3"}}, ["outgoing to 10.1.2.3, port 587"]),
        ({"smtp": {**SMTP, "port": 465}}, ["outgoing to smtp.example.com, port 465"]),
        ({"smtp": {**SMTP, "host": "93.184.216.34"}}, []),
        ({"storage": {**STORE, "endpoint": "http://10.1.2.3:9000"}}, ["outgoing to 10.1.2.3, port 9000"]),
        ({"storage": {**STORE, "endpoint": "https://store.lan"}}, ["outgoing to store.lan, port 443"]),
        ({"storage": STORE}, []),
        ({"browser": CHROME}, ["outgoing to 10.222.222.1, port 9223", "outgoing to chrome.lan, port 9222"]),
    ],
)
def test_what_the_stack_file_names_is_open(sections: dict[str, Any], found: list[str]) -> None:
    assert [str(one) for one in destinations(settings(**sections))] == found


def test_private_is_what_the_egress_proxy_refuses() -> None:
    squid = re.findall(r"^acl private dst ([0-9.]+/\d+)", (ROOT / "images/egress/squid.conf").read_text(), re.MULTILINE)
    assert tuple(squid) == addresses.PRIVATE_IPV4
    squid6 = re.findall(
        r"^acl private dst (2001::/\d+|2[0-9a-f:]+/\d+|3[0-9a-f:]+/\d+)",
        (ROOT / "images/egress/squid.conf").read_text(),
        re.MULTILINE,
    )
    assert tuple(squid6) == addresses.PRIVATE_IPV6


@pytest.mark.skipif(shutil.which("nft") is None, reason="host tests have nft in the firewall's image")
def test_nft_takes_the_rules() -> None:
    text = ruleset("skyvern-a.b-1", INNER, OUTWARD, [to("10.0.0.5", 587), to("fd00::/8", 1), to(None, 2)])
    # In a namespace of their own, and as a trial.
    command = ["unshare", "--user", "--map-root-user", "--net", "nft", "--check", "--file", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- The container ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("llm", [{}, {"llm": {"provider": "ollama", "model": "qwen2.5:7b"}}])
def test_every_container_with_a_network_comes_after_the_firewall_and_goes_before(llm: dict[str, Any]) -> None:
    run = program.run(settings(**llm))
    firewall = run.container("firewall")
    by_urn = {one.urn: one for one in run.registrations}

    def waits(urn: str) -> bool:
        """For the firewall, by itself or by what it belongs to: the engine deletes in the opposite order."""
        one = by_urn.get(urn)
        return one is not None and (firewall.urn in one.dependencies or waits(one.parent))

    containers = [one for one in run.of_type("docker:index/container:Container") if one.inputs.get("networkMode") != "none"]
    assert {one.name for one in containers if not waits(one.urn)} == {firewall.name}


def test_every_network_of_the_stack_is_in_the_rules() -> None:
    run = program.run(settings(llm={"provider": "ollama", "model": "qwen2.5:7b"}, edge=CLOUDFLARE))
    ids = {f"br-id-of-{one.name}"[:15] for one in run.of_type("docker:index/network:Network")}
    _, table, text = run.container("firewall").inputs["command"]
    assert table == "skyvern-dev"
    assert ids
    assert [bridge for bridge in ids if bridge not in text] == []


def test_it_can_be_left_out() -> None:
    run = program.run(settings(host={"firewall": False}))
    assert "firewall" not in run.outputs["containers"]
    assert not [one for one in run.registrations if "firewall" in one.name]


def test_a_preview_shows_what_it_lets_through() -> None:
    def of(*allowed: str, **sections: Any) -> dict[str, Any]:
        inputs = program.run(settings(server={"allow": list(allowed)}, **sections)).container("firewall").inputs
        return dict(inputs)

    gained = list(exposure.exposures(exposure.CONTAINER, "firewall", of(), of("192.168.1.20:587", "host:5678", browser=CHROME)))
    assert [(one.change, one.kind, one.what) for one in gained] == [
        ("gained", "rule", f"{what} (let through by the firewall)")
        for what in (
            "chrome.lan, port 9222",
            "outgoing to 10.222.222.1, port 9223",
            "outgoing to 192.168.1.20, port 587",
            "outgoing to this host, port 5678",
        )
    ]
    (lost,) = exposure.exposures(exposure.CONTAINER, "firewall", of(), None)
    assert (lost.change, lost.what) == ("lost", "the stack's firewall (in force)")
