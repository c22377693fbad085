"""The checks that a hostile page is held in Skyvern's browser: Chromium's sandbox around it, and the addresses that it reaches.

Those are public ones by way of the proxy; nothing inside the stack, and nothing past the proxy.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from ops.clients.docker import PYTHON
from ops.observe.smoke import egress_log
from ops.observe.smoke.site import CheckNotApplicableError, Site, Visit, expect_none
from ops.observe.smoke.workflow_checks import cancel_run, definition, start_run, wait_for_end, workflow

# As a page inside the server container would name them. Chromium blocks none of these ports by itself.
FORBIDDEN = (
    "http://gateway:8080",
    "http://postgres:5432",
    "http://server:8000",
    "http://127.0.0.1:8000",
    "http://localhost:8000",
    "http://[::1]:8000",
    "http://host.docker.internal",
    "http://169.254.169.254/latest/meta-data",
    "http://192.168.1.1",
    "http://10.0.0.1",
)
# Which of the names have no address there; all at once, because each may take ten seconds.
NAMELESS = 'for name in "$@"; do (getent ahosts "$name" > /dev/null || echo "$name") & done; wait'
# The page tries for about five seconds; Skyvern adds five after every navigation before the wait begins.
STAY_SECONDS = 8
POSTGRES_COMPLAINT = "invalid length of startup packet"
APPEAR_SECONDS = 30
# Listens in the server's container while the page tries to get past the proxy: a page cannot know whether a packet arrived.
# Prints where it listens; a separate process then writes a line for each packet or connection, the first two its own.
LISTEN = """
import json, os, select, socket, sys, time

udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.create_server(("", 0))
port = tcp.getsockname()[1]
udp.bind(("", port))
addresses = sorted({entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)})
if not os.fork():
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    [os.dup2(null, stream) for stream in (0, 1, 2)]
    limit = time.monotonic() + SECONDS
    with open(sys.argv[1], "w", buffering=1) as packets:
        while (left := limit - time.monotonic()) > 0:
            for source in select.select([udp, tcp], [], [], left)[0]:
                if source is udp:
                    data, sender = udp.recvfrom(2048)
                else:
                    connection, sender = tcp.accept()
                    connection.settimeout(1)
                    try:
                        data = connection.recv(2048)
                    except OSError:
                        data = b""
                    connection.close()
                print(json.dumps(["udp" if source is udp else "tcp", data == b"control"]), file=packets)
    os._exit(0)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    control.sendto(b"control", (addresses[0], port))
with socket.create_connection((addresses[0], port), 5) as control:
    control.sendall(b"control")
print(json.dumps([f"{host}:{port}" for host in (*addresses, "127.0.0.1", socket.gethostname())]))
""".replace("+ SECONDS", "+ 240")
# Waits in the server's container for a page's process in its sandbox, and prints how it and the browser are held.
LOOK = """
import fnmatch, json, os, pathlib, time

KINDS = ("user", "pid", "net")
SECRETS = {"DATABASE", "KEY", "PASSWORD", "SECRET", "TOKEN"}

def status(folder):
    return dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())

def look(folder):
    facts = status(folder)
    return {
        "filters": int(facts["Seccomp_filters"]),
        "no_new_privileges": facts["NoNewPrivs"].strip() == "1",
        "own": [kind for kind in KINDS if os.readlink(folder / "ns" / kind) != os.readlink(f"/proc/self/ns/{kind}")],
    }

def devices(folder):
    return sorted(line.split(":")[0].strip() for line in (folder / "net/dev").read_text().splitlines()[2:])

def secrets(folder, program):
    names = (entry.partition("=")[0] for entry in (folder / "environ").read_text(errors="replace").split(chr(0)))
    return {f"{program}: {name}" for name in names if not SECRETS.isdisjoint(name.split("_"))}

def find():
    pages, browsers, filters, flags, exposed = [], [], [], set(), set()
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").replace(chr(0), " ").split()
            program = words[0].rpartition("/")[2] if words else ""
            if program in ("chromium", "ffmpeg", "node", "Xvfb"):
                exposed |= secrets(folder, program)
            if program == "chromium":
                # Chromium gives --no-zygote-sandbox to one of its own processes.
                flags |= {word for word in words if word == "--no-sandbox" or fnmatch.fnmatch(word, "--disable-*-sandbox")}
                pages += [look(folder)] if "--type=renderer" in words else []
                if not any(word.startswith("--type=") for word in words):
                    browsers.append(devices(folder))
                    filters.append(look(folder)["filters"])
        except OSError:
            pass  # It has ended in the meantime.
    return {
        "pages": pages,
        "browsers": browsers,
        "browser_filters": max(filters, default=0),
        "flags": sorted(flags),
        "secrets": sorted(exposed),
    }

limit = time.monotonic() + SECONDS
processes = find()
while time.monotonic() < limit and not (
    processes["pages"]
    and (processes["flags"] or all(page["filters"] > processes["browser_filters"] for page in processes["pages"]))
):
    time.sleep(0.2)
    processes = find()
print(json.dumps(processes))
""".replace("+ SECONDS", f"+ {APPEAR_SECONDS}")


def check_sandbox(site: Site) -> None:
    """During a run, each page's process has its own namespaces and filter, and no browser has a network besides loopback."""
    if not site.records:
        raise CheckNotApplicableError("browser.type is cdp-connect: Chrome runs elsewhere, with its own sandbox")
    if site.execute("server", "sh", "-c", 'echo "$BROWSER_SANDBOX"').strip() == b"false":
        raise CheckNotApplicableError("browser.sandbox is false")
    hostile_visit(site)
    problems = sandbox_problems(json.loads(site.execute("server", *PYTHON, LOOK, timeout_seconds=90)))
    expect_none(problems)


def sandbox_problems(processes: Mapping[str, Any]) -> list[str]:
    """Why a page's process is not held, in words, from LOOK's output; empty if it is."""
    if not processes["pages"]:
        return [f"no page's process was found within {APPEAR_SECONDS} s"]
    problems = [f"Chromium was started with {flag}" for flag in processes["flags"]]
    # A process that has ended since then has no devices any more.
    problems += [f"a browser has {', '.join(devices)}" for devices in processes["browsers"] if set(devices) - {"lo"}]
    problems += [f"in the environment of {name}" for name in processes["secrets"]]
    for page in processes["pages"]:
        if missing := {"user", "pid", "net"} - set(page["own"]):
            problems.append(f"a page shares the {', '.join(sorted(missing))} namespace of the container")
        # Beyond those with which the browser was started.
        if page["filters"] <= processes["browser_filters"]:
            problems.append("a page lacks its own system call filter")
        if not page["no_new_privileges"]:
            problems.append("a page may gain privileges")
    return problems


def hostile_visit(site: Site) -> Visit:
    """The only run that opens the hostile page, started by the first check that needs it: each run takes half a minute."""
    if site.visit is None:
        marker, since = f"reach-{secrets.token_hex(8)}", site.now()
        places = json.loads(site.execute("server", *PYTHON, LISTEN, packets_file(marker)))
        body = definition("Smoke run: hostile page", page_url(site.outputs.smoke_url, marker, FORBIDDEN, places), STAY_SECONDS)
        site.visit = Visit(start_run(site, site.cleanup.enter_context(workflow(site, body))), marker, since)
        site.cleanup.callback(cancel_run, site, site.visit.run_id)
    return site.visit


def packets_file(marker: str) -> str:
    """Path of LISTEN's lines in the server's container."""
    return f"/tmp/{marker}"  # noqa: S108


def page_url(smoke_url: str, marker: str, targets: Iterable[str] = FORBIDDEN, around: Iterable[str] = ()) -> str:
    """URL of the hostile page that tries each target, the page's own origin as the control, and the places past the proxy."""
    named = {"marker": [marker], "to": targets, "around": around}
    query = urlencode([(name, value) for name, values in named.items() for value in values])
    return f"{smoke_url}/hostile.html?{query}"


def packet_problems(lines: Iterable[str]) -> list[str]:
    """Why it is not proven that the page stayed behind the proxy, in words, from LISTEN's lines; empty if it is."""
    packets = [(str(protocol), bool(control)) for protocol, control in map(json.loads, lines)]
    problems = []
    for protocol in ("udp", "tcp"):
        if (protocol, True) not in packets:
            problems.append(f"the listener did not get even its own {protocol.upper()} packet")
        if count := packets.count((protocol, False)):
            problems.append(f"{count} {protocol.upper()} packets or connections went past the proxy")
    return problems


def check_hostile_page(site: Site) -> None:
    """A page that tries everything reaches nothing inside, while its own site, the stand-in for a public one, is reached.

    The server writes no access lines (uvicorn's are off in Skyvern), so for its port the proxy's refusal is the evidence.
    """
    visit = hostile_visit(site)
    with site.cleanup:
        # However it ends: a page that is held may well fail.
        wait_for_end(site, visit.run_id)
    accesses = egress_log.parse(site.log("egress", visit.since))
    asked = egress_log.given_up(accesses, FORBIDDEN)
    nameless = site.execute("egress", "sh", "-c", NAMELESS, "sh", *asked).decode().split() if asked else []
    problems = egress_log.problems(accesses, visit.marker, FORBIDDEN, site.outputs.smoke_url, nameless=nameless)
    packets = packets_file(visit.marker)
    problems += packet_problems(site.execute("server", "sh", "-c", 'cat "$0"; rm "$0"', packets).decode().splitlines())
    # The page's own URL names the marker in its query; only a request made by the page has it in the path.
    marked = f"/{visit.marker}/"
    if any(marked in line for line in site.log("gateway", visit.since)):
        problems.append("gateway was reached")
    # None of the stack's with database.url.
    postgres = "postgres" in site.outputs.containers
    if postgres and any(POSTGRES_COMPLAINT in line for line in site.log("postgres", visit.since)):
        problems.append("postgres was reached")
    requests = [line for line in site.log("smoke-site", visit.since) if marked in line]
    if not requests:
        problems.append("smoke-site got no request of the page")
    # The page requests these when it has tried everything past the proxy, and when Chromium believes that it is online.
    for word in ("around", "online"):
        if not any(f"{marked}{word}" in line for line in requests):
            problems.append(f"smoke-site got no request for {word}")
    expect_none(problems)
