"""Stacks that share a zone at Cloudflare, compared by their stack files. Pure.

Not here: what the account says of a zone's owner (components/edge/tunnel.py asks it at each plan of a stack among cells).
"""

from collections.abc import Iterator, Mapping

from components.settings import CloudflareEdge, Settings
from ops.stack.stack import Stack


def problems(stacks: Mapping[Stack, Settings], *, complete: bool = True) -> Iterator[str]:
    """A line for each mistake in what the stacks say about their zones, with what to write instead.

    complete: whether these are all stacks; the owner of a zone may be one that is not seen.
    """
    zones: dict[str, dict[Stack, CloudflareEdge]] = {}
    for stack, settings in stacks.items():
        if isinstance(settings.edge, CloudflareEdge):
            zones.setdefault(settings.edge.domain, {})[stack] = settings.edge
    for domain, edges in sorted(zones.items()):
        yield from _zone_problems(domain, edges, complete)


def _zone_problems(domain: str, edges: Mapping[Stack, CloudflareEdge], complete: bool) -> Iterator[str]:
    by_cell: dict[str | None, list[Stack]] = {}
    for stack, edge in edges.items():
        by_cell.setdefault(edge.cell, []).append(stack)
    for cell, same in by_cell.items():
        if len(same) > 1:
            host = f"{cell}-app.{domain}" if cell else f"app.{domain}"
            other = f"write another edge.cell in the newest of {_files(same)}, whose hosts it renames"
            yield f"zone {domain}: {_named(same)} have the same hosts, such as {host}; {other}"
    owners = [stack for stack, edge in edges.items() if edge.zone_owner]
    if not owners:
        first = next(iter(edges)).file_name
        if complete:
            cure = f"remove edge.zone_owner from {first}, or from another's file"
            yield f"zone {domain}: no stack has its settings and rules; {cure}"
        return
    if len(owners) > 1:
        members = [stack for stack in owners if edges[stack].cell]
        # One without a cell cannot give the zone away. Without any cell they have the same hosts, which is said above.
        which = _files(members) if len(members) < len(owners) else f"all but one of {_files(owners)}"
        if members:
            yield (
                f"zone {domain}: {_named(owners)} all have its settings and rules, and one would undo the other's; write "
                f"edge.zone_owner: false in {which}"
            )
        return
    (owner,) = owners
    missing = sorted({edge.cell for edge in edges.values() if edge.cell} - {edges[owner].cell, *edges[owner].cells})
    if missing:
        cells = ", ".join([*edges[owner].cells, *missing])
        yield f"zone {domain}: its rules do not cover {', '.join(missing)}; write edge.cells: [{cells}] in {owner.file_name}"


def _named(stacks: list[Stack]) -> str:
    return f"{', '.join(stack.name for stack in stacks[:-1])} and {stacks[-1].name}"


def _files(stacks: list[Stack]) -> str:
    return ", ".join(stack.file_name for stack in stacks)
