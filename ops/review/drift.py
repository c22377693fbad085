"""``ops drift``: differences from the recorded state, and resources that look like ours but are not in it.

A refresh finds changes of resources that the state knows. It cannot find what was made without Pulumi: containers and
networks with our labels, and records of the zone with our comment or to our tunnel. Changes nothing. Not here: repair, which is
script/up's (ops/deploy/repair.py).
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import httpx

from components.endpoints import TUNNEL_SUFFIX
from components.settings import CloudflareEdge
from ops.clients import cloudflare
from ops.errors import UserError
from ops.preview import engine
from ops.preview.model import Drift
from ops.preview.report import code
from ops.stack import secrets
from ops.stack.stack import Stack

# Types of the components' CNAME records, and of their target.
RECORD = "cloudflare:index/dnsRecord:DnsRecord"
TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"


def find(stack: Stack) -> Drift:
    """The drift of a stack, including unmanaged resources; ``failure`` names what could not be checked."""
    drift = engine.drift(stack)
    edge = stack.settings().edge
    if not isinstance(edge, CloudflareEdge):
        return drift
    try:
        with cloudflare.client(secrets.given(stack, "edge.api_token")) as http:
            records = zone_records(http, edge.domain)
        strays = stray_records(records, stack.state(), prefix=f"skyvern-{stack.short}")
    except UserError as failed:
        return dataclasses.replace(drift, failure="; ".join(filter(None, [drift.failure, str(failed)])))
    return dataclasses.replace(drift, unmanaged=(*drift.unmanaged, *strays))


def exit_code(drift: Drift) -> int:
    """1: the check failed; 2: there is drift; 0: there is no drift."""
    if drift.failure or not drift.checked:
        return 1
    return 2 if drift.count else 0


# --- DNS -----------------------------------------------------------------------------------------------------------------


def zone_records(http: httpx.Client, domain: str) -> list[dict[str, Any]]:
    """Every CNAME record of a zone, as Cloudflare's API has it; UserError if it refuses."""
    zones = cloudflare.get(http, "/zones", name=domain)
    if len(zones) != 1:
        raise UserError(f"Cloudflare: the token sees {len(zones)} zones {domain}, so its records cannot be checked")
    return list(cloudflare.pages(http, f"/zones/{zones[0]['id']}/dns_records", type="CNAME", order="name"))


def stray_records(records: list[dict[str, Any]], state: Mapping[str, Any], *, prefix: str) -> list[str]:
    """Records that look like the stack's but are not in the state. state: of ``Stack.state``.

    prefix: of the comment that the components write, ``skyvern-prod``. A record whose comment was removed is recognised by its
    target, the tunnel.
    """
    resources = [resource for resource in state.get("resources") or [] if not resource.get("delete")]
    known = {resource.get("id") for resource in resources if resource["type"] == RECORD}
    tunnels = {f"{resource.get('id')}{TUNNEL_SUFFIX}" for resource in resources if resource["type"] == TUNNEL}
    return sorted(
        f"DNS record {record['name']} to {record['content']} ({record['id']})"
        for record in records
        if record["id"] not in known
        and (str(record.get("comment") or "").startswith(f"{prefix}:") or record["content"] in tunnels)
    )


# --- The issue -----------------------------------------------------------------------------------------------------------


def marker(stack: str) -> str:
    """The first line of a stack's issue, by which it is found."""
    return f"<!-- skyvern-drift: {stack} -->"


def fingerprint(drift: Drift) -> str:
    """16 hex digits over names and properties, not over values: an address or a time may differ each day."""
    essence = [
        sorted([step.urn, step.operation, *sorted(diff.path for diff in step.diffs)] for step in drift.steps),
        sorted(drift.unmanaged),
        drift.failure.partition(":")[0],
    ]
    return hashlib.sha256(json.dumps(essence).encode()).hexdigest()[:16]


def title(stack: str, drift: Drift) -> str:
    """The issue's title, with the numbers of resources."""
    if drift.failure:
        return f"Drift of {stack}: could not be checked"
    parts = [
        (len(drift.steps), "changed outside Pulumi"),
        (len(drift.unmanaged), "not in the state"),
    ]
    return f"Drift of {stack}: " + ", ".join(f"{count} {what}" for count, what in parts if count)


def markdown(stack: str, drift: Drift, *, link: str = "") -> str:
    """The issue's text: the differences, and what to do about each kind."""
    parts = []
    if drift.failure:
        parts.append(f"**The check did not finish**, so this list is incomplete: {_cell(drift.failure)}")
    if drift.steps:
        rows = "\n".join(
            f"| {_cell(step.name)} | {'is gone' if step.operation == 'delete' else 'changed'} | "
            + "<br>".join(f"{_cell(diff.path)}: {_cell(diff.old)} → {_cell(diff.new)}" for diff in step.diffs)
            + " |"
            for step in drift.steps
        )
        parts.append(
            "**Different from the state** (left: the state, right: what was found)\n\n"
            f"| what | how | property |\n| --- | --- | --- |\n{rows}\n\n"
            f"To undo it: `pulumi up --refresh -s {stack}`. To keep it: write it into the program or the stack file, in a pull "
            "request."
        )
    if drift.unmanaged:
        rows = "\n".join(f"- {_cell(name)}" for name in drift.unmanaged)
        parts.append(
            f"**Looks like part of this stack, but is not in the state**\n\n{rows}\n\n"
            f"`script/up --stack {stack}` removes such containers and networks. Remove a DNS record at Cloudflare yourself, "
            "once you know that it is not needed."
        )
    parts.append(f"Checked by `bin/ops drift -s {stack}`{f' in [this run]({link})' if link else ''}; nothing was changed.")
    return "\n\n".join(parts) + "\n"


def lines(stack: str, drift: Drift) -> list[str]:
    """The same for a terminal, a line each."""
    printed = [f"stack {stack}: {drift.failure}"] if drift.failure else []
    for step in drift.steps:
        paths = ", ".join(diff.path for diff in step.diffs)
        printed.append(f"{step.name}: is gone" if step.operation == "delete" else f"{step.name}: changed ({paths})")
    printed += [f"{name}: not in the state" for name in drift.unmanaged]
    return printed or [f"stack {stack}: no drift"]


def _cell(text: str | None) -> str:
    """A text for a cell of a table, as code: it can neither end the cell, nor be markup, nor mention anyone."""
    return "nothing" if text is None else code(text[:200])
