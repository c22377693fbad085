"""Settings that are right by themselves and wrong together."""

from collections.abc import Iterator, Mapping

from components.settings.browser import CdpBrowser
from components.settings.database import DatabaseSettings
from components.settings.edge import HOSTS, OF_THE_ZONE, CloudflareEdge, NoEdge, Plan, Tunnel
from components.settings.errors import set_secret
from components.settings.frontend import VercelFrontend
from components.settings.llm import OllamaLlm
from components.settings.schema import Settings
from components.settings.smtp import SmtpSettings, is_mail_address

# Longest period and longest timeout of a rate limiting rule, in seconds (Cloudflare's table of plans).
_RATE_LIMITS: Mapping[Plan, tuple[int, int]] = {"free": (10, 10), "pro": (60, 3600), "business": (600, 86400)}
# Largest body of a request, in MiB (Cloudflare's table of limits: 100 and 200 MB), without what a form adds to a file.
_UPLOAD_MIB: Mapping[Plan, int] = {"free": 94, "pro": 94, "business": 189}
# The longest name in DNS.
_HOST_CHARACTERS = 253
# The server's /tmp has 1024 MiB (components/host/skyvern.py); a quarter of it is for browser profiles and recordings.
FILES_MIB = 768
# Pulumi's provider ends an update of a service after 20 minutes, whatever is asked (terraform-plugin-sdk, schema.TimeoutDefault:
# the resource declares none): the drain, a minute more (components/host/skyvern.py), and the start of the next server.
SWARM_DRAIN_MINUTES = 15
# The longest name of a stack on a Swarm, in which a secret's has at most 64 characters: skyvern-STACK-connector- and 16 of a hash
# (components/host/swarm.py). Networks and services have 63 and no period (swarmkit, manager/controlapi/common.go and secret.go).
STACK_CHARACTERS = 29


def conflicts(settings: Settings, stack: str) -> Iterator[str]:
    """A line for each: ``PATH: what is wrong; what to write``. stack: its name."""
    browser = settings.browser
    if isinstance(browser, CdpBrowser) and browser.proxy_port == settings.host.port:
        yield f"browser.proxy_port: {browser.proxy_port} is also host.port; write another port"
    for key in ("max_runs", "max_sessions"):
        at_once = getattr(settings.server, key)
        if isinstance(browser, CdpBrowser) and at_once not in (None, 1):
            yield f"server.{key}: {at_once} would share the one Chrome of browser.type: cdp-connect; write 1, or remove it"
    server = settings.server
    download, upload = server.max_download_mib, server.max_upload_mib
    if download + upload > FILES_MIB:
        yield (
            f"server.max_download_mib: {download} and server.max_upload_mib: {upload} are more than the {FILES_MIB} MiB "
            f"that /tmp has for files; write {FILES_MIB - upload} or less"
        )
    yield from _smtp_conflicts(settings.smtp, stack)
    yield from _database_conflicts(settings.database)
    yield from _engine_conflicts(settings, stack)
    edge = settings.edge
    on_vercel = isinstance(settings.frontend, VercelFrontend)
    if on_vercel and not isinstance(edge, CloudflareEdge):
        yield (
            f'frontend.provider: "vercel" reaches this host through a Cloudflare Tunnel, and edge.provider is '
            f'"{edge.provider}"; write gateway, or edge.provider: cloudflare'
        )
    monitor = settings.monitor
    if monitor.channels is not None and not monitor.enabled:
        yield (
            "monitor.channels: is about messages of the monitor, and monitor.enabled is false; write true, or remove the channels"
        )
    for key in ("heartbeat", "metrics"):
        if getattr(monitor, key) and not monitor.enabled:
            yield f"monitor.{key}: is the monitor's, and monitor.enabled is false; write true, or remove it"
    if monitor.channels is None and monitor.quiet_hours:
        yield "monitor.quiet_hours: is about messages, and there are no monitor.channels; set those, or remove it"
    if not monitor.sends and monitor.allow:
        yield "monitor.allow: is about messages, and no monitor.channels or monitor.heartbeat is set; set one, or remove it"
    if isinstance(settings.frontend, VercelFrontend):
        yield from _vercel_conflicts(settings.frontend)
    if isinstance(edge, Tunnel) and settings.images.source == "packages" and edge.connector_image is None:
        yield (
            'images.source: "packages" has no connector: neither cloudflared nor ngrok can be built from packages; write '
            "official, or name your own image in edge.connector_image"
        )
    if isinstance(edge, CloudflareEdge):
        if settings.host.proxy is not None and not edge.past_proxy:
            yield (
                "host.proxy: cloudflared knows no proxy and needs port 7844 of Cloudflare; write edge.past_proxy: true once the "
                "network lets it through, or edge.provider: ngrok"
            )
        if settings.host.proxy is None and edge.past_proxy:
            yield "edge.past_proxy: is about host.proxy, and there is none; remove it"
        if upload > (most := _UPLOAD_MIB[edge.plan]):
            yield f"server.max_upload_mib: {upload} is more than Cloudflare's plan {edge.plan} lets through; write {most} or less"
        longest = dict(zip(("rate_limit_period", "rate_limit_timeout"), _RATE_LIMITS[edge.plan], strict=True))
        for key, most in longest.items():
            if edge.rate_limit and getattr(edge, key) > most:
                yield f"edge.{key}: {getattr(edge, key)} is more than the plan {edge.plan} allows; write {most} or less"
        yield from _cell_conflicts(edge)
        if edge.access_team is not None and on_vercel:
            yield "edge.access_team: guards the UI on this host, and the UI is on Vercel; remove it"
        if edge.access_team is not None and not (edge.access_emails or edge.access_domains):
            yield "edge.access_team: would admit no one; set edge.access_emails or edge.access_domains as well"
        if edge.access_team is None and (edge.access_emails or edge.access_domains):
            yield "edge.access_team: is missing; write the NAME of NAME.cloudflareaccess.com, for example example"


def _engine_conflicts(settings: Settings, stack: str) -> Iterator[str]:
    """On a Swarm a task is on any machine, so nothing may be on one of them; and its ports are open on every address."""
    host = settings.host
    if host.engine == "docker":
        for key in ("shared_folder", "encrypted"):
            if getattr(host, key):
                yield f'host.{key}: is about several machines, and host.engine is "docker"; remove it, or write engine: swarm'
        return
    swarm = 'host.engine: "swarm"'
    shorter = stack.replace(".", "-")[:STACK_CHARACTERS]
    if "." in stack:
        yield f"{swarm} takes no period in the name of a stack; rename the file, for example to Pulumi.{shorter}.yaml"
    if len(stack) > STACK_CHARACTERS:
        yield (
            f"{swarm} takes at most {STACK_CHARACTERS} characters in the name of a stack, and this one has {len(stack)}; rename "
            f"the file, for example to Pulumi.{shorter}.yaml"
        )
    if host.shared_folder is None:
        yield f"{swarm} needs a folder that all machines have; write host.shared_folder, for example /mnt/skyvern"
    if not settings.database.elsewhere:
        yield f"{swarm} needs a PostgreSQL beside it, which no machine takes down with it; set database.url (docs/database.md)"
    if isinstance(settings.edge, NoEdge):
        yield f"{swarm} would open a port to the network of its machines; write edge.provider: cloudflare or ngrok"
    if (minutes := settings.server.drain_minutes) > SWARM_DRAIN_MINUTES:
        yield (
            f"server.drain_minutes: {minutes} does not fit into the 20 minutes that an update of a service has with {swarm}, "
            f"the start of the next server among them; write {SWARM_DRAIN_MINUTES} or less"
        )
    if isinstance(settings.browser, CdpBrowser):
        yield f'browser.type: "cdp-connect" has its proxy on 127.0.0.1 of one machine, and {swarm} has several; write headless'
    if isinstance(settings.llm, OllamaLlm):
        yield (
            f'llm.provider: "ollama" has its models and its GPU on one machine, and {swarm} has several; write openai-compatible '
            "and the address of an Ollama beside it"
        )


def _cell_conflicts(edge: CloudflareEdge) -> Iterator[str]:
    longest = f"{edge.cell}-{max(HOSTS, key=len)}.{edge.domain}"
    if edge.cell is not None and len(longest) > _HOST_CHARACTERS:
        yield (
            f'edge.cell: "{edge.cell}" makes hosts of {len(longest)} characters with edge.domain, and DNS takes '
            f"{_HOST_CHARACTERS}; write a shorter name"
        )
    for name in edge.cells:
        if name == edge.cell:
            yield f'edge.cells: "{name}" is this stack\'s own cell, which its rules cover; remove it'
        elif edge.cells.count(name) > 1:
            yield f'edge.cells: "{name}" is written twice; remove one'
            break
    if edge.zone_owner:
        return
    if edge.cell is None:
        # Whoever wants to hand a zone over may write this for a stack that runs.
        yield (
            "edge.zone_owner: false is for a cell beside others in the zone, and a stack without one keeps the zone; remove it, "
            "or write edge.cell for a stack that is new: it renames all hosts of another (docs/scale.md)"
        )
    for key in OF_THE_ZONE:
        # It would have no effect, and somebody believes in it.
        if key in edge.model_fields_set:
            yield f"edge.{key}: is about the whole zone, and edge.zone_owner is false; write it for the stack that owns the zone"


def _database_conflicts(database: DatabaseSettings) -> Iterator[str]:
    if database.url is None:
        if database.ca_file is not None:
            yield "database.ca_file: is about a server elsewhere, and there is no database.url; set that, or remove it"
        return
    for key in ("memory_mib", "cpus"):
        # It would have no effect, and somebody believes in it.
        if key in database.model_fields_set:
            yield f"database.{key}: is about the stack's own PostgreSQL, and database.url names another; remove it"


def _smtp_conflicts(smtp: SmtpSettings, stack: str) -> Iterator[str]:
    if smtp.host is None:
        for key in ("username", "password", "sender"):
            if getattr(smtp, key) is not None:
                yield f"smtp.host: is missing, and smtp.{key} is set; write the mail server, for example smtp.example.com"
                return
        return
    if smtp.username is None:
        yield "smtp.username: is missing; write the name that the mail server knows, for example approvals@example.com"
    elif smtp.sender is None and not is_mail_address(smtp.username):
        yield "smtp.sender: is missing, and smtp.username is not a mail address; write one such as approvals@example.com"
    if smtp.password is None:
        yield f"smtp.password: is missing; {set_secret('smtp.password', stack)}"


def _vercel_conflicts(frontend: VercelFrontend) -> Iterator[str]:
    if frontend.plan == "hobby" and not frontend.non_commercial:
        yield (
            'frontend.plan: "hobby" may not serve a business (Vercel\'s fair use guidelines); write pro, '
            "frontend.non_commercial: true where it serves none, or frontend.provider: gateway"
        )
    if frontend.plan == "pro" and frontend.non_commercial:
        yield 'frontend.non_commercial: is for the plan hobby, and frontend.plan is "pro"; remove it'
    if frontend.source == "git" and frontend.repository is None:
        yield (
            "frontend.repository: is missing; write OWNER/NAME of your own copy of this project, and install Vercel's app on it "
            "first (docs/vercel.md); or write frontend.source: upload"
        )
    if frontend.source == "upload" and frontend.repository is not None:
        yield 'frontend.repository: is for frontend.source: git, and that is "upload"; write git, or remove it'
    if frontend.vercel_app is not None and frontend.verification is not None:
        yield "frontend.verification: is for a domain, and frontend.vercel_app needs none; remove it"
