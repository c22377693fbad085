"""The checks of what holds a hostile page in Skyvern's browser: Chromium's sandbox around it, and what it can reach.

That is the public internet's side of the proxy, and nothing inside, nor anything past the proxy.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from ops.clients.docker import PYTHON
from ops.observe.smoke import egress_log
from ops.observe.smoke.site import CheckNotApplicableError, Site, Visit, expect
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
# The page tries for about five seconds; Skyvern adds five after every navigation before the wait begins.
STAY_SECONDS = 8
POSTGRES_COMPLAINT = "invalid length of startup packet"
APPEAR_SECONDS = 30
# Listens in the server's container while the page tries to get past the proxy: a page cannot say whether a packet arrived. Prints
# where it listens; from a process of its own it then writes a line for each packet or connection, the first two its own.
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
    with open(sys.argv[1], "w", buffering=1) as seen:
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
                print(json.dumps(["udp" if source is udp else "tcp", data == b"control"]), file=seen)
    os._exit(0)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    control.sendto(b"control", (addresses[0], port))
with socket.create_connection((addresses[0], port), 5) as control:
    control.sendall(b"control")
print(json.dumps([f"{host}:{port}" for host in (*addresses, "127.0.0.1", socket.gethostname())]))
""".replace("+ SECONDS", "+ 240")
# Waits in the server's container for a page's process that has fenced itself in, and prints how it and the browser are held.
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
    pages, browsers, flags, exposed = [], [], set(), set()
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
                browsers += [] if any(word.startswith("--type=") for word in words) else [devices(folder)]
        except OSError:
            pass  # It has ended in the meantime.
    return {"pages": pages, "browsers": browsers, "flags": sorted(flags), "secrets": sorted(exposed)}

ours = int(status(pathlib.Path("/proc/self"))["Seccomp_filters"])
limit = time.monotonic() + SECONDS
seen = find()
while time.monotonic() < limit and not (
    seen["pages"] and (seen["flags"] or all(page["filters"] > ours for page in seen["pages"]))
):
    time.sleep(0.2)
    seen = find()
print(json.dumps({"container_filters": ours, **seen}))
""".replace("+ SECONDS", f"+ {APPEAR_SECONDS}")


def check_sandbox(site: Site) -> None:
    """During a run, each page's process has its own namespaces and filter, and no browser has a network besides loopback."""
    if not site.records:
        raise CheckNotApplicableError("browser.type is cdp-connect: Chrome runs elsewhere, with its own sandbox")
    if site.execute("server", "sh", "-c", 'echo "$BROWSER_SANDBOX"').strip() == b"false":
        raise CheckNotApplicableError("browser.sandbox is false")
    hostile_visit(site)
    found = sandbox_problems(json.loads(site.execute("server", *PYTHON, LOOK, timeout_seconds=90)))
    expect(not found, shorten(found))


def sandbox_problems(seen: Mapping[str, Any]) -> list[str]:
    """Why a page's process is not held, in words, from what LOOK printed; empty when it is."""
    if not seen["pages"]:
        return [f"no page's process was seen within {APPEAR_SECONDS} s"]
    found = [f"Chromium was started with {flag}" for flag in seen["flags"]]
    # A process that goes between two looks has no devices any more.
    found += [f"a browser has {', '.join(devices)}" for devices in seen["browsers"] if set(devices) - {"lo"}]
    found += [f"in the environment of {name}" for name in seen["secrets"]]
    for page in seen["pages"]:
        if missing := {"user", "pid", "net"} - set(page["own"]):
            found.append(f"a page shares the {', '.join(sorted(missing))} namespace of the container")
        if page["filters"] <= seen["container_filters"]:
            found.append("a page lacks its own system call filter")
        if not page["no_new_privileges"]:
            found.append("a page may gain privileges")
    return found


def hostile_visit(site: Site) -> Visit:
    """The one run that opens the hostile page, begun by whichever check needs it first: half a minute is enough once."""
    if site.visit is None:
        marker, since = f"reach-{secrets.token_hex(8)}", site.now()
        places = json.loads(site.execute("server", *PYTHON, LISTEN, packets_file(marker)))
        body = definition("Smoke run: hostile page", page_url(site.outputs.smoke_url, marker, FORBIDDEN, places), STAY_SECONDS)
        site.visit = Visit(start_run(site, site.cleanup.enter_context(workflow(site, body))), marker, since)
        site.cleanup.callback(cancel_run, site, site.visit.run_id)
    return site.visit


def packets_file(marker: str) -> str:
    """Where LISTEN writes in the server's container."""
    return f"/tmp/{marker}"  # noqa: S108


def page_url(smoke_url: str, marker: str, targets: Iterable[str] = FORBIDDEN, around: Iterable[str] = ()) -> str:
    """URL of the hostile page that tries each target, the page's own origin as the control, and the places past the proxy."""
    named = {"marker": [marker], "to": targets, "around": around}
    query = urlencode([(name, value) for name, values in named.items() for value in values])
    return f"{smoke_url}/hostile.html?{query}"


def packet_problems(lines: Iterable[str]) -> list[str]:
    """Why the page is not proven to have stayed behind the proxy, in words, from what LISTEN wrote; empty when it is."""
    seen = [(str(protocol), bool(control)) for protocol, control in map(json.loads, lines)]
    found = []
    for protocol in ("udp", "tcp"):
        if (protocol, True) not in seen:
            found.append(f"the listener saw not even its own {protocol.upper()} packet")
        if count := seen.count((protocol, False)):
            found.append(f"{count} {protocol.upper()} packets or connections went past the proxy")
    return found


def check_hostile_page(site: Site) -> None:
    """A page that tries everything reaches nothing inside, while its own site, the stand-in for a public one, is reached.

    The server writes no access lines (uvicorn's are off in Skyvern), so for its port the proxy's refusal is the evidence.
    """
    visit = hostile_visit(site)
    with site.cleanup:
        # However it ends: a page that is held may well fail.
        wait_for_end(site, visit.run_id)
    accesses = egress_log.parse(site.log("egress", visit.since))
    found = egress_log.problems(accesses, visit.marker, FORBIDDEN, site.outputs.smoke_url)
    packets = packets_file(visit.marker)
    found += packet_problems(site.execute("server", "sh", "-c", 'cat "$0"; rm "$0"', packets).decode().splitlines())
    # The page's own URL names the marker in its query; only a request made by the page has it in the path.
    asked = f"/{visit.marker}/"
    if any(asked in line for line in site.log("gateway", visit.since)):
        found.append("gateway was reached")
    if any(POSTGRES_COMPLAINT in line for line in site.log("postgres", visit.since)):
        found.append("postgres was reached")
    requests = [line for line in site.log("smoke-site", visit.since) if asked in line]
    if not requests:
        found.append("smoke-site saw no request of the page")
    # The page asks for these when it has tried everything past the proxy, and when Chromium takes itself to be online.
    for word in ("around", "online"):
        if not any(f"{asked}{word}" in line for line in requests):
            found.append(f"smoke-site saw no request for {word}")
    expect(not found, shorten(found))


def shorten(found: list[str]) -> str:
    """At most three problems in one line, and how many more there are."""
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more
