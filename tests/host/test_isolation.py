"""The walls around a stack on the tests' daemon: each is taken away, which must be seen, and comes back.

The chains that are emptied here are those of the tests' own daemon, which runs in its own network namespace: the firewall's
container is what changes them, because it is in that namespace wherever it is.
"""

import json
import subprocess
from collections.abc import Iterator

import pytest

from components.host import images
from components.host.firewall import Destination, ruleset
from ops.clients.docker import Docker
from ops.observe import isolation
from ops.observe.smoke import CHECKS, Result, egress_log, run_check
from ops.observe.smoke.browser_checks import page_url
from ops.observe.smoke.site import Site, client_for
from ops.observe.smoke.workflow_checks import finished_run, workflow_body
from ops.stack import inventory
from ops.stack.outputs import parse
from tests.host.conftest import IMAGES, Checkout, Dockerd, put_right, site_of
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(4800)
STACK = "dev"
FIREWALL = f"skyvern-{STACK}-firewall"
# The container looks every five seconds.
BACK_SECONDS = 20
REACH = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"


@pytest.fixture(scope="module")
def docker(checkout: Checkout, dockerd: Dockerd, first_up: str) -> Iterator[Docker]:
    """The daemon with the stack as the program has it, before and after; in between, it may differ from its file."""
    put_right(checkout)
    yield checkout.docker
    # Docker makes its own rules again when it starts.
    dockerd.stop()
    dockerd.start()
    put_right(checkout)
    checkout.pulumi(f"preview --refresh --expect-no-changes -s {STACK}")


def on_host(docker: Docker, *command: str) -> str:
    """A command in the daemon's network namespace, as root there."""
    options = ("--rm", "--network=host", "--user=0:0", "--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=NET_RAW")
    return docker.run("run", *options, images.references(IMAGES)["egress"], *command)


def table(docker: Docker) -> bool:
    return f"table inet skyvern-{STACK}" in on_host(docker, "nft", "list", "tables")


def wait_for_table(docker: Docker) -> None:
    wait_for(lambda: table(docker), lambda: docker.logs(FIREWALL), seconds=BACK_SECONDS, pause=0.25)


def smoke(checkout: Checkout) -> Result:
    """The line of ``ops smoke`` about isolation."""
    outputs = parse(STACK, checkout.pulumi(f"stack output --json --show-secrets -s {STACK}").stdout)
    (check,) = (one for one in CHECKS if one.name == "isolation")
    with client_for(outputs) as client:
        return run_check(check, Site(outputs, client, checkout.docker))


def findings(checkout: Checkout) -> list[dict[str, str]]:
    found = json.loads(checkout.run("bin/ops", "doctor", "-s", STACK, "--json", check=False).stdout)["findings"]
    return [one for one in found if one["check"] == "isolation"]


def listens(port: int) -> bool:
    """Whether something listens on a port of the daemon's network namespace."""
    return f":{port} " in subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=True).stdout


def address(docker: Docker, part: str, network: str) -> str:
    networks = docker.inspect(f"skyvern-{STACK}-{part}")["NetworkSettings"]["Networks"]
    return str(networks[f"skyvern-{STACK}-{network}"]["IPAddress"])


def test_the_stack_is_closed_and_nothing_is_found(checkout: Checkout, docker: Docker) -> None:
    assert smoke(checkout).mark == "ok"
    assert findings(checkout) == []
    assert docker.inspect(FIREWALL)["State"]["Health"]["Status"] == "healthy"


def test_nft_in_the_image_takes_every_kind_of_rule(docker: Docker) -> None:
    reachable = [Destination(network="outgoing", host=host, port=25) for host in ("10.0.0.0/8", "fd00::1", None)]
    text = ruleset("skyvern-try", {"app": "br-a"}, {"outgoing": "br-b"}, reachable)
    options = ("--rm", "--interactive", "--network=host", "--user=0:0", "--cap-drop=ALL", "--cap-add=NET_ADMIN")
    docker.run("run", *options, images.references(IMAGES)["egress"], "nft", "--check", "--file", "-", stdin=text.encode())


def test_flushed_rules_come_back_by_themselves(checkout: Checkout, docker: Docker) -> None:
    docker.run("exec", FIREWALL, "nft", "delete", "table", "inet", f"skyvern-{STACK}")
    wait_for_table(docker)
    docker.run("exec", FIREWALL, "nft", "insert", "rule", "inet", f"skyvern-{STACK}", "forward", "accept")
    noticed = "changed or removed"
    wait_for(lambda: docker.logs(FIREWALL).count(noticed) >= 2, lambda: docker.logs(FIREWALL), seconds=BACK_SECONDS, pause=0.25)
    assert smoke(checkout).mark == "ok"


def test_a_stop_by_hand_opens_nothing(docker: Docker) -> None:
    docker.run("stop", FIREWALL)
    assert table(docker)
    assert "the rules stay" in docker.logs(FIREWALL)
    docker.run("start", FIREWALL)


def test_without_dockers_rules_the_firewall_holds_and_doctor_says_so(checkout: Checkout, docker: Docker) -> None:
    """As another daemon in the same network namespace leaves them: the chain is there, and empty."""
    if "DOCKER-ISOLATION-STAGE-1" not in docker.run("exec", FIREWALL, "nft", "list", "ruleset"):
        pytest.fail("the tests' Docker names its chains otherwise; see isolation.rules_lost")
    docker.run("exec", FIREWALL, "nft", "flush", "chain", "ip", "filter", "DOCKER-ISOLATION-STAGE-1")
    (found,) = findings(checkout)
    assert found["level"] == "warning"
    assert found["fix"] == "sudo systemctl restart docker"
    assert smoke(checkout).mark == "ok"


def test_without_both_walls_smoke_and_doctor_name_what_is_open_and_one_up_closes_it(checkout: Checkout, docker: Docker) -> None:
    """Docker's isolation is gone since the test before."""
    docker.run("kill", FIREWALL)
    docker.run("rm", FIREWALL)
    on_host(docker, "nft", "delete", "table", "inet", f"skyvern-{STACK}")
    told = smoke(checkout)
    assert told.mark == "FAIL"
    assert "no wall between the stack's networks" in told.detail
    assert "no wall before the host" in told.detail
    assert "\n" not in told.detail
    found = findings(checkout)
    problems = [f"{one['subject']} {one['problem']}" for one in found]
    # The host's services are in reach of every part, whatever Docker does.
    assert [one for one in problems if one.startswith("gateway reaches") and "no wall before the host" in one]
    assert {one["fix"] for one in found} == {f"script/up --stack {STACK}"}

    assert f"container {FIREWALL} is gone: the up makes it again" in checkout.run("script/up").stdout
    assert smoke(checkout).mark == "ok"


def test_what_the_stack_file_names_is_open_and_nothing_beside_it(checkout: Checkout, docker: Docker) -> None:
    """A service of the host, by a bridge's address; the listener is in the daemon's network namespace."""
    gateway, elsewhere = (
        docker.inspect(f"skyvern-{STACK}-{network}")["IPAM"]["Config"][0]["Gateway"] for network in ("outgoing", "edge")
    )
    image = docker.inspect(f"skyvern-{STACK}-server")["Config"]["Image"]
    file = (checkout.root / f"Pulumi.{STACK}.yaml").read_text()

    def reaches(port: int) -> bool:
        done = docker.run(
            "exec", f"skyvern-{STACK}-server", "sh", "-c", f"python3 -c '{REACH}' {gateway} {port} 2>&1 || echo refused"
        )
        return "refused" not in done

    serve = ("python3", "-m", "http.server", "--bind", "0.0.0.0")  # noqa: S104
    try:
        for port in ("28999", "28998"):
            docker.run("run", "--detach", "--name", f"listener-{port}", "--network=host", image, *serve, port)
        # Both are there, so what is refused below is refused on the way.
        wait_for(lambda: listens(28999) and listens(28998), pause=0.25)
        assert not reaches(28999)
        allow = f"skyvern:browser:\n    allow: ['{elsewhere}:28999']\n  skyvern:server:\n    allow: ['host:28999']"
        (checkout.root / f"Pulumi.{STACK}.yaml").write_text(file.replace("skyvern:server:", allow, 1))
        preview = checkout.pulumi(f"up --yes -s {STACK}").stdout
        assert "skyvern-host-firewall-nft" in preview
        assert (reaches(28999), reaches(28998)) == (True, False)
        reached, refused = what_pages_reach(checkout, [f"{elsewhere}:28999", f"{elsewhere}:28998", f"{gateway}:28999"])
        assert reached == {(elsewhere, 28999)}
        assert refused == {(elsewhere, 28998), (gateway, 28999)}
    finally:
        (checkout.root / f"Pulumi.{STACK}.yaml").write_text(file)
        docker.run("rm", "--force", "listener-28999", "listener-28998")


def what_pages_reach(checkout: Checkout, targets: list[str]) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """F09: Skyvern opens the first target, then a hostile page that tries all of them: who answered, and who was out of reach."""
    with site_of(checkout) as site:
        urls = [f"http://{target}" for target in targets]
        hostile = page_url(site.outputs.smoke_url, "reach-allowed", urls)
        opens = [{"block_type": "goto_url", "label": label, "url": url} for label, url in (("open", urls[0]), ("try", hostile))]
        with finished_run(site, workflow_body("Intranet", [*opens, {"block_type": "wait", "label": "stay", "wait_sec": 3}])):
            pass
        accesses = egress_log.parse(site.docker.logs(site.container("egress")).splitlines())
    # The page has its marker in the path of what it asks for; the first line is Skyvern's own.
    assert any(access.reached and "/reach-allowed/" in access.url for access in accesses)
    asked = {egress_log.authority(url) for url in urls}
    mine = [access for access in accesses if access.authority in asked]
    assert mine[0].reached
    assert mine[0].authority == egress_log.authority(urls[0])
    return {one.authority for one in mine if one.reached}, {one.authority for one in mine if one.refused}


@pytest.fixture
def neighbour(docker: Docker) -> Iterator[str]:
    """A machine beside the host, on its own cable, which reaches the bridges by way of the host: its container's name."""
    name = "neighbour"
    docker.run("run", "--detach", "--name", name, "--network=none", images.references(IMAGES)["egress"], "sleep", "600")
    pid = str(docker.inspect(name)["State"]["Pid"])
    inside = ("nsenter", f"--net=/proc/{pid}/ns/net")
    try:
        for command in (
            ("ip", "link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", pid),
            ("ip", "address", "add", "203.0.113.1/30", "dev", "cable0"),
            ("ip", "link", "set", "cable0", "up"),
            (*inside, "ip", "address", "add", "203.0.113.2/30", "dev", "cable1"),
            (*inside, "ip", "link", "set", "cable1", "up"),
            (*inside, "ip", "route", "add", "default", "via", "203.0.113.1"),
        ):
            subprocess.run(command, check=True)
        yield name
    finally:
        # The cable goes with one of its ends.
        docker.run("rm", "--force", name)


def test_a_neighbour_who_routes_to_a_container_is_outside(docker: Docker, neighbour: str) -> None:
    """The published port by the container's own address: Docker before 28 lets it in, whatever interface it comes from."""
    target = address(docker, "gateway", "edge")

    def tries() -> str:
        told = docker.run("exec", "--interactive", neighbour, "bash", "-c", isolation.TRY, stdin=f"{target} 8080\n".encode())
        return told.split()[1]

    assert tries() == "silent"
    if int(docker.run("version", "--format", "{{.Server.Version}}").split(".")[0]) < 28:
        docker.run("kill", FIREWALL)
        on_host(docker, "nft", "delete", "table", "inet", f"skyvern-{STACK}")
        try:
            assert tries() == "open"
        finally:
            docker.run("start", FIREWALL)
            wait_for_table(docker)


def test_every_running_part_but_the_firewall_has_its_own_network_or_none(docker: Docker) -> None:
    modes = {
        one["Config"]["Labels"]["skyvern.part"]: one["HostConfig"]["NetworkMode"] for one in inventory.documents(docker, STACK)
    }
    assert [part for part, mode in modes.items() if mode == "host"] == ["firewall"]
