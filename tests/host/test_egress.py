"""What the egress proxy lets out, asked by hand from where browsers ask it. What a real page tries is in the smoke run.

Squid decides by the address that a host resolves to, so every spelling of an address has to end as that address. Redirects need
no row: to a proxy the next address is one more request.
"""

import ipaddress
import json

import pytest

from components.host.egress import command
from ops.observe.smoke.site import Site
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(4800)
# Reads [[method, host], …]; prints the proxy's status and the name that Squid gives its own refusals. The port is the server's.
ASK = """
import json, socket, sys
for method, host in json.load(sys.stdin):
    target = f"{host}:8000" if method == "CONNECT" else f"http://{host}:8000/"
    with socket.create_connection(("egress", 3128), timeout=30) as line:
        line.sendall(f"{method} {target} HTTP/1.1\\r\\nHost: {host}:8000\\r\\nConnection: close\\r\\n\\r\\n".encode())
        answer = b""
        while b"\\r\\n\\r\\n" not in answer and (more := line.recv(65536)):
            answer += more
    lines = answer.partition(b"\\r\\n\\r\\n")[0].decode("latin-1").splitlines()
    errors = [one.split(":", 1)[1].split()[0] for one in lines if one.lower().startswith("x-squid-error:")]
    print(lines[0].split()[1], errors[0] if errors else "-")
"""
# Asks Squid inside its container: a method and a host on each line; prints the status of each.
ASK_INSIDE = """
while read -r method target; do
  [ "$method" = CONNECT ] || target="http://$target/"
  exec 3<> /dev/tcp/127.0.0.1/3128
  printf '%s %s HTTP/1.0\\r\\n\\r\\n' "$method" "$target" >&3
  read -r _ status _ <&3
  echo "$status"
done
"""
METHODS = ("GET", "HEAD", "POST", "CONNECT")
PRIVATE = (
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",  # noqa: S104
    "10.0.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.1",
    "192.168.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
)
PRIVATE_V6 = (
    "::",
    "::1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::7f00:1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "fc00::1",
    "fd00::1",
    "fe80::1",
    "fe80::1%25eth0",
    "fec0::1",
    "ff02::1",
)
NAMES = ("localhost", "LOCALHOST", "localhost.", "server", "egress", "smoke-site", "smoke-site.")


def spellings(address: str) -> list[str]:
    """An IPv4 address as inet_aton and its like read it, and inside IPv6 addresses."""
    number = int(ipaddress.IPv4Address(address))
    a, b, c, d = address.split(".")
    return [
        address,
        f"{address}.",
        f"{address}..",
        str(number),
        f"0{number:o}",
        hex(number),
        hex(number).upper(),
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}",
        ".".join(f"0{int(one):o}" for one in (a, b, c, d)),
        ".".join(f"{int(one):#x}" for one in (a, b, c, d)),
        f"0{int(a):o}.{int(b):#x}.{c}.{d}",
        f"{a}.{b}.{c}.0{int(d):o}",
        f"[::ffff:{address}]",
        f"[::FFFF:{address}]",
        f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[0:0:0:0:0:ffff:{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[::ffff:0:{address}]",
        f"[::{address}]",
        f"[64:ff9b::{address}]",
        f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::]",
    ]


def no_addresses(address: str) -> list[str]:
    """What holds an address and is none; no name server knows it either."""
    digits = "".join(f"%{ord(one):02x}" if one.isdigit() else one for one in address)
    return [
        digits,
        address.replace(".", "%2e"),
        address.replace(".", "。"),
        address.replace("1", "①"),
        f"{address}%00.invalid",
        f"{address},x.invalid",
        f"{address}\\x.invalid",
        f"-{address}",
        f"x.{address}",
    ]


def ask(site: Site, hosts: list[str]) -> dict[tuple[str, str], str]:
    """(method, host) -> status and Squid's own name for the refusal."""
    asked = [(method, host) for host in hosts for method in METHODS]
    text = json.dumps(asked)
    printed = site.execute("server", "python3", "-c", ASK, stdin=text.encode(), timeout_seconds=300).decode()
    return dict(zip(asked, printed.splitlines(), strict=True))


def addresses_of(site: Site, part: str) -> list[str]:
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}} {{end}}"
    return site.docker.run("inspect", "--format", form, site.container(part)).split()


def test_no_name_and_no_address_of_the_inside_is_let_out(site: Site) -> None:
    """A sample of the tables below: each address as itself."""
    inside = sorted({address for part in ("server", "egress", "gateway", "postgres") for address in addresses_of(site, part)})
    assert len(inside) > 8
    got = ask(site, [*PRIVATE, *(f"[{address}]" for address in PRIVATE_V6), *NAMES, *inside])
    assert {one: said for one, said in got.items() if said != "403 ERR_ACCESS_DENIED"} == {}


@pytest.mark.nightly
def test_no_spelling_of_a_private_address_is_let_out(site: Site) -> None:
    inside = sorted({address for part in ("server", "egress") for address in addresses_of(site, part)})
    hosts = [spelling for address in (*PRIVATE, *inside) for spelling in spellings(address)]
    got = ask(site, hosts)
    assert {one: said for one, said in got.items() if said != "403 ERR_ACCESS_DENIED"} == {}


@pytest.mark.nightly
def test_what_only_looks_like_an_address_is_none(site: Site) -> None:
    hosts = [one for address in ("127.0.0.1", *addresses_of(site, "egress")) for one in no_addresses(address)]
    got = ask(site, hosts)
    assert {one: said for one, said in got.items() if said != "502 502:ERR_DNS_FAIL"} == {}


@pytest.mark.nightly
def test_a_user_name_before_an_address_changes_nothing(site: Site) -> None:
    hosts = [f"{name}@{address}" for name in ("x", "x.invalid", "192.0.2.1") for address in ("127.0.0.1", "[::1]", "localhost")]
    got = ask(site, hosts)
    # After CONNECT there is no user name, so the whole of it is the name of a host.
    assert {said for (method, _), said in got.items() if method == "CONNECT"} <= {"502 502:ERR_DNS_FAIL", "403 ERR_ACCESS_DENIED"}
    assert {said for (method, _), said in got.items() if method != "CONNECT"} == {"403 ERR_ACCESS_DENIED"}


def test_an_exception_is_one_host_and_one_port_whatever_else_leads_there(site: Site) -> None:
    """F09: a page's own name that resolves to an allowed address (DNS rebinding) is refused like any other private one.

    In a container without a network: what is let through ends as 503, because nothing can be reached.
    """
    name, image = "egress-exceptions", site.docker.inspect(site.container("egress"))["Config"]["Image"]
    names = {
        "wiki.example.test": "10.20.1.5",
        "evil.example.test": "10.20.1.5",
        "x.wiki.example.test": "10.20.1.5",
        "inside.example.test": "172.30.0.2",
        "metadata.example.test": "169.254.169.254",
        "loop.example.test": "127.0.0.1",
    }
    allow = ["10.20.2.0/30:8443", *(f"{host}.example.test:8443" for host in ("wiki", "inside", "metadata", "loop"))]
    opened = ["wiki.example.test:8443", "WIKI.example.test:8443", "10.20.2.1:8443"]
    refused = [
        *("wiki.example.test:8444", "wiki.example.test:80", "10.20.1.5:8443", "evil.example.test:8443"),
        *("x.wiki.example.test:8443", "10.20.2.1:8444", "10.20.2.5:8443", "inside.example.test:8443", "172.30.0.2:8443"),
        *("metadata.example.test:8443", "169.254.169.254:8443", "loop.example.test:8443", "127.0.0.1:8443", "localhost:8443"),
    ]
    asked = [(method, host) for host in (*opened, *refused) for method in ("GET", "CONNECT")]
    lines = "".join(f"{method} {host}\n" for method, host in asked).encode()
    hosts = [f"--add-host={host}:{address}" for host, address in names.items()]
    options = ("--network=none", "--read-only", "--tmpfs=/tmp:rw,noexec", "--user=13:13", "--cap-drop=ALL")
    squid = command(allow, ["172.30.0.0/16"], ()) or ()
    site.docker.run("run", "--detach", "--name", name, *options, *hosts, image, *squid)
    try:
        wait_for(lambda: is_healthy(site, name), lambda: site.docker.logs(name), pause=0.25)
        printed = site.docker.run("exec", "--interactive", name, "bash", "-c", ASK_INSIDE, stdin=lines).split()
    finally:
        site.docker.run("rm", "--force", name)
    got = dict(zip(asked, printed, strict=True))
    assert {one: status for one, status in got.items() if status != ("503" if one[1] in opened else "403")} == {}


@pytest.mark.nightly
def test_a_part_that_has_moved_is_found_again_within_two_minutes(site: Site) -> None:
    """As smoke-site does on a Swarm. Docker's name server gives its names for ten minutes."""
    docker, image = site.docker, site.docker.inspect(site.container("egress"))["Config"]["Image"]
    server = docker.inspect(site.container("server"))["Config"]["Image"]
    network, squid, page = "egress-moves", "egress-moves-squid", "egress-moves-page"
    listen = "import http.server; http.server.HTTPServer(('', 80), http.server.SimpleHTTPRequestHandler).serve_forever()"
    on = (f"--network={network}", "--read-only", "--tmpfs=/tmp", "--user=13:13")
    docker.run("network", "create", "--internal", network)

    def status() -> str:
        return docker.run("exec", "--interactive", squid, "bash", "-c", ASK_INSIDE, stdin=b"GET smoke-site\n").strip()

    def start(name: str) -> str:
        as_page = ("--network-alias=smoke-site", "--sysctl=net.ipv4.ip_unprivileged_port_start=0", "--workdir=/usr/share/doc")
        docker.run("run", "--detach", "--name", name, *on, *as_page, "--entrypoint=python3", server, "-c", listen)
        return docker.run("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)

    try:
        docker.run("run", "--detach", "--name", squid, *on, image)
        first = start(f"{page}-1")
        wait_for(lambda: is_healthy(site, squid), lambda: docker.logs(squid), pause=0.25)
        wait_for(lambda: status() == "200", lambda: docker.logs(squid))
        second = start(f"{page}-2")
        assert first != second
        docker.run("rm", "--force", f"{page}-1")
        # It is the old address that is asked for now.
        assert status() == "503"
        wait_for(lambda: status() == "200", lambda: docker.logs(squid), seconds=120)
    finally:
        docker.run("rm", "--force", squid, f"{page}-1", f"{page}-2")
        docker.run("network", "rm", network)


def is_healthy(site: Site, container: str) -> bool:
    """Whether Squid refuses what it has to."""
    return "healthy" in site.docker.run("exec", container, "sh", "-c", "egress-healthy 2> /dev/null && echo healthy || true")
