"""The check of what a hostile page in Skyvern's browser can reach: the public internet's side of the proxy, nothing inside."""

import secrets
from urllib.parse import urlencode

from ops.smoke import egress_log
from ops.smoke.site import Site, expect
from ops.smoke.workflow_checks import definition, finished_run

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


def page_url(smoke_url: str, marker: str, targets: tuple[str, ...] = FORBIDDEN) -> str:
    """URL of the hostile page that tries each target, and the page's own origin as the control."""
    query = urlencode([("marker", marker), *(("to", target) for target in targets)])
    return f"{smoke_url}/hostile.html?{query}"


def check_hostile_page(site: Site) -> None:
    """A page that tries everything reaches nothing inside, while its own site, the stand-in for a public one, is reached.

    The server writes no access lines (uvicorn's are off in Skyvern), so for its port the proxy's refusal is the evidence.
    """
    marker = f"reach-{secrets.token_hex(8)}"
    since = site.now()
    url = page_url(site.outputs.smoke_url, marker)
    with finished_run(site, definition("Smoke run: hostile page", url, STAY_SECONDS)):
        pass  # However it ends: a page that is held may well fail.
    accesses = egress_log.parse(site.log("egress", since))
    found = egress_log.problems(accesses, marker, FORBIDDEN, site.outputs.smoke_url)
    # The page's own URL names the marker in its query; only a request made by the page has it in the path.
    asked = f"/{marker}/"
    if any(asked in line for line in site.log("gateway", since)):
        found.append("gateway was reached")
    if any(POSTGRES_COMPLAINT in line for line in site.log("postgres", since)):
        found.append("postgres was reached")
    if not any(asked in line for line in site.log("smoke-site", since)):
        found.append("smoke-site saw no request of the page")
    expect(not found, shorten(found))


def shorten(found: list[str]) -> str:
    """At most three problems in one line, and how many more there are."""
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more
