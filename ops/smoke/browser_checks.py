"""The checks of what holds a hostile page in Skyvern's browser: Chromium's sandbox around it, and what it can reach.

That is the public internet's side of the proxy, and nothing inside.
"""

import json
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ops.smoke import egress_log
from ops.smoke.site import CheckNotApplicableError, Site, Visit, expect
from ops.smoke.workflow_checks import cancel_run, definition, start_run, wait_for_end, workflow

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
# Waits in the server's container for a page's process that has fenced itself in, and tells how each is held.
LOOK = """
import fnmatch, json, os, pathlib, time

KINDS = ("user", "pid", "net")

def status(folder):
    return dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())

def look(folder):
    facts = status(folder)
    return {
        "filters": int(facts["Seccomp_filters"]),
        "no_new_privileges": facts["NoNewPrivs"].strip() == "1",
        "own": [kind for kind in KINDS if os.readlink(folder / "ns" / kind) != os.readlink(f"/proc/self/ns/{kind}")],
    }

def find():
    pages, flags = [], set()
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").replace(chr(0), " ").split()
            if words and words[0].endswith("/chromium"):
                # Chromium gives --no-zygote-sandbox to one of its own processes.
                flags |= {word for word in words if word == "--no-sandbox" or fnmatch.fnmatch(word, "--disable-*-sandbox")}
                pages += [look(folder)] if "--type=renderer" in words else []
        except OSError:
            pass  # It has ended in the meantime.
    return pages, sorted(flags)

ours = int(status(pathlib.Path("/proc/self"))["Seccomp_filters"])
limit = time.monotonic() + SECONDS
pages, flags = find()
while time.monotonic() < limit and not (pages and (flags or all(page["filters"] > ours for page in pages))):
    time.sleep(0.2)
    pages, flags = find()
print(json.dumps({"container_filters": ours, "flags": flags, "pages": pages}))
""".replace("SECONDS", str(APPEAR_SECONDS))


def check_sandbox(site: Site) -> None:
    """During a run, each page's process is in namespaces of its own and under a filter of its own, on top of the container's."""
    if not site.records:
        raise CheckNotApplicableError("browser.type is cdp-connect: Chrome runs elsewhere, with its own sandbox")
    if site.execute("server", "sh", "-c", 'echo "$BROWSER_SANDBOX"').strip() == b"false":
        raise CheckNotApplicableError("browser.sandbox is false")
    hostile_visit(site)
    found = sandbox_problems(json.loads(site.execute("server", "python3", "-c", LOOK, timeout_seconds=90)))
    expect(not found, shorten(found))


def sandbox_problems(seen: Mapping[str, Any]) -> list[str]:
    """Why a page's process is not held, in words, from what LOOK printed; empty when it is."""
    if not seen["pages"]:
        return [f"no page's process was seen within {APPEAR_SECONDS} s"]
    found = [f"Chromium was started with {flag}" for flag in seen["flags"]]
    for page in seen["pages"]:
        if missing := {"user", "pid", "net"} - set(page["own"]):
            found.append(f"a page shares the {', '.join(sorted(missing))} namespace of the container")
        if page["filters"] <= seen["container_filters"]:
            found.append("a page has no system call filter of its own")
        if not page["no_new_privileges"]:
            found.append("a page may gain privileges")
    return found


def hostile_visit(site: Site) -> Visit:
    """The one run that opens the hostile page, begun by whichever check needs it first: half a minute is enough once."""
    if site.visit is None:
        marker, since = f"reach-{secrets.token_hex(8)}", site.now()
        body = definition("Smoke run: hostile page", page_url(site.outputs.smoke_url, marker), STAY_SECONDS)
        site.visit = Visit(start_run(site, site.cleanup.enter_context(workflow(site, body))), marker, since)
        site.cleanup.callback(cancel_run, site, site.visit.run_id)
    return site.visit


def page_url(smoke_url: str, marker: str, targets: tuple[str, ...] = FORBIDDEN) -> str:
    """URL of the hostile page that tries each target, and the page's own origin as the control."""
    query = urlencode([("marker", marker), *(("to", target) for target in targets)])
    return f"{smoke_url}/hostile.html?{query}"


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
    # The page's own URL names the marker in its query; only a request made by the page has it in the path.
    asked = f"/{visit.marker}/"
    if any(asked in line for line in site.log("gateway", visit.since)):
        found.append("gateway was reached")
    if any(POSTGRES_COMPLAINT in line for line in site.log("postgres", visit.since)):
        found.append("postgres was reached")
    if not any(asked in line for line in site.log("smoke-site", visit.since)):
        found.append("smoke-site saw no request of the page")
    expect(not found, shorten(found))


def shorten(found: list[str]) -> str:
    """At most three problems in one line, and how many more there are."""
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more
