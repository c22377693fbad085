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
from ops.stack.stack import Stack
from ops.stack.token import read_token

# Of the components' CNAME records, and of what each of them leads to.
RECORD = "cloudflare:index/dnsRecord:DnsRecord"
TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"


def find(stack: Stack) -> Drift:
    """The drift of a stack, resources that are in no state included; ``failure`` names what could not be checked."""
    found = engine.drift(stack)
    edge = stack.settings().edge
    if not isinstance(edge, CloudflareEdge):
        return found
    try:
        with cloudflare.client(read_token(stack)) as http:
            records = zone_records(http, edge.domain)
        strays = stray_records(records, stack.state(), prefix=f"skyvern-{stack.short}")
    except UserError as failed:
        return dataclasses.replace(found, failure="; ".join(filter(None, [found.failure, str(failed)])))
    return dataclasses.replace(found, unmanaged=(*found.unmanaged, *strays))


def exit_code(found: Drift) -> int:
    """1: it could not be found out; 2: there is drift; 0: there is none."""
    if found.failure or not found.checked:
        return 1
    return 2 if found.steps or found.unmanaged else 0


# --- DNS -----------------------------------------------------------------------------------------------------------------


def zone_records(http: httpx.Client, domain: str) -> list[dict[str, Any]]:
    """Every CNAME record of a zone, as Cloudflare's API has it; UserError where it refuses."""
    zones = cloudflare.get(http, "/zones", name=domain)
    if len(zones) != 1:
        raise UserError(f"Cloudflare: the token sees {len(zones)} zones {domain}, so its records cannot be checked")
    return list(cloudflare.pages(http, f"/zones/{zones[0]['id']}/dns_records", type="CNAME", order="name"))


def stray_records(records: list[dict[str, Any]], state: Mapping[str, Any], *, prefix: str) -> list[str]:
    """Records that look like the stack's and are in no state. state: of ``Stack.state``.

    prefix: of the comment that the components write, ``skyvern-prod``. A record whose comment somebody removed is told by the
    tunnel that it leads to.
    """
    resources = [one for one in state.get("resources") or [] if not one.get("delete")]
    known = {one.get("id") for one in resources if one["type"] == RECORD}
    tunnels = {f"{one.get('id')}{TUNNEL_SUFFIX}" for one in resources if one["type"] == TUNNEL}
    return sorted(
        f"DNS record {one['name']} to {one['content']} ({one['id']})"
        for one in records
        if one["id"] not in known and (str(one.get("comment") or "").startswith(f"{prefix}:") or one["content"] in tunnels)
    )


# --- The issue -----------------------------------------------------------------------------------------------------------


def marker(stack: str) -> str:
    """What the one issue of a stack begins with."""
    return f"<!-- skyvern-drift: {stack} -->"


def fingerprint(found: Drift) -> str:
    """16 hex digits over what drifted, and not over the values: an address or a time may differ each day."""
    essence = [
        sorted([step.urn, step.operation, *sorted(diff.path for diff in step.diffs)] for step in found.steps),
        sorted(found.unmanaged),
        found.failure.partition(":")[0],
    ]
    return hashlib.sha256(json.dumps(essence).encode()).hexdigest()[:16]


def title(stack: str, found: Drift) -> str:
    """Of the issue: how much, in a line."""
    if found.failure:
        return f"Drift of {stack}: could not be checked"
    parts = [
        (len(found.steps), "changed outside Pulumi"),
        (len(found.unmanaged), "not in the state"),
    ]
    return f"Drift of {stack}: " + ", ".join(f"{count} {what}" for count, what in parts if count)


def markdown(stack: str, found: Drift, *, link: str = "") -> str:
    """The issue's text: what differs, and what to do about each sort."""
    parts = []
    if found.failure:
        parts.append(f"**The check did not finish**, so this list is incomplete: {_cell(found.failure)}")
    if found.steps:
        rows = "\n".join(
            f"| {_cell(step.name)} | {'is gone' if step.operation == 'delete' else 'changed'} | "
            + "<br>".join(f"{_cell(diff.path)}: {_cell(diff.old)} → {_cell(diff.new)}" for diff in step.diffs)
            + " |"
            for step in found.steps
        )
        parts.append(
            "**Different from the state** (left: the state, right: what was found)\n\n"
            f"| what | how | property |\n| --- | --- | --- |\n{rows}\n\n"
            f"To undo it: `pulumi up --refresh -s {stack}`. To keep it: write it into the program or the stack file, in a pull "
            "request."
        )
    if found.unmanaged:
        rows = "\n".join(f"- {_cell(one)}" for one in found.unmanaged)
        parts.append(
            f"**Looks like part of this stack, but is not in the state**\n\n{rows}\n\n"
            f"`script/up --stack {stack}` removes such containers and networks. Remove a DNS record at Cloudflare yourself, "
            "once you know that it is not needed."
        )
    parts.append(f"Checked by `bin/ops drift -s {stack}`{f' in [this run]({link})' if link else ''}; nothing was changed.")
    return "\n\n".join(parts) + "\n"


def lines(stack: str, found: Drift) -> list[str]:
    """The same for a terminal, a line each."""
    told = [f"stack {stack}: {found.failure}"] if found.failure else []
    for step in found.steps:
        paths = ", ".join(diff.path for diff in step.diffs)
        told.append(f"{step.name}: is gone" if step.operation == "delete" else f"{step.name}: changed ({paths})")
    told += [f"{one}: not in the state" for one in found.unmanaged]
    return told or [f"stack {stack}: no drift"]


def _cell(text: str | None) -> str:
    """A text inside of a table, as code: neither ends the cell, nor begins an element, nor calls a person."""
    return "nothing" if text is None else code(text[:200])
