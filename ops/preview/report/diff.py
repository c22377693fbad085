"""The diff of a stack, resource by resource, and the choice of resources where not all fit. Pure."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ops.preview.model import Preview, PropertyDiff, Step
from ops.preview.report.markup import capped, details, fence, length, plural
from ops.preview.report.sections import ORDER, short_type

# Number of a stack in the report, number of a resource in the stack.
Place = tuple[int, int]


@dataclass(frozen=True)
class Block:
    """One resource's lines. rank: the lower, the sooner it is shown when not all fit."""

    rank: tuple[bool, int, str]
    lines: tuple[str, ...]


def blocks(preview: Preview, cap: int | None) -> list[Block]:
    """The diff of one stack, by resource; its outputs come last. cap: the most lines of a resource."""
    own = [_block(step, cap) for step in preview.steps]
    if preview.outputs:
        lines = ["@@ outputs of the stack @@", *(line for change in preview.outputs for line in _diff_lines(change))]
        own.append(Block((True, len(ORDER), ""), tuple(lines)))
    return own


def _block(step: Step, cap: int | None) -> Block:
    rank = (not step.destroys_data, ORDER.index(step.operation), step.urn)
    lines = [line for change in step.diffs for line in _diff_lines(change)]
    if step.operation == "delete":
        lines = ["- all of it"]
    # Of a creation, the beginning is enough: all of it is new.
    most = None if cap is None else cap // 4 if step.operation in {"create", "import"} else cap
    some, more = capped(lines, most)
    head = f"@@ {step.operation} {step.name} ({short_type(step.type)}) @@"
    lines = [head, *some, *(f"# {line} lines" for line in more)]
    # A name or a path with a line break would end the line that says what it is.
    return Block(rank, tuple(" ".join(line.splitlines()) for line in lines))


def _diff_lines(change: PropertyDiff) -> Iterator[str]:
    forces = "   # forces the replacement" if change.forces else ""
    if change.lines:
        yield f"# {change.path}:{forces}"
        for line in change.lines:
            yield f"{line[0]}     {line[1:]}"
        return
    if change.old is not None:
        yield f"- {change.path}: {change.old}{'' if change.new is not None else forces}"
    if change.new is not None:
        yield f"+ {change.path}: {change.new}{forces}"


def folded(stack: Sequence[Block], shown: Collection[int] | None, link: str) -> str:
    """The diff with the resources of these numbers, in the stack's order; None: all."""
    if not stack:
        return ""
    some = [block for index, block in enumerate(stack) if shown is None or index in shown]
    parts = [fence((line for block in some for line in block.lines), "diff")] if some else []
    if missing := len(stack) - len(some):
        parts.append(elsewhere(missing, link))
    return details(f"Diff of {plural(len(stack), 'resource')}", "\n\n".join(parts))


def fitting(stacks: Sequence[Sequence[Block]], room: int) -> set[Place]:
    """The resources that fit into the room, the weightiest first."""
    room -= 200 * len(stacks)
    chosen = set()
    for _, stack, index in sorted(
        (block.rank, stack, index) for stack, own in enumerate(stacks) for index, block in enumerate(own)
    ):
        size = length("\n".join(stacks[stack][index].lines)) + 1
        if size <= room:
            room -= size
            chosen.add((stack, index))
    return chosen


def elsewhere(missing: int, link: str) -> str:
    """The note on the resources that are left out."""
    where = f"they are in [the whole report]({link})" if link else "`bin/ops preview --limit 0` shows them"
    return f"✂️ Trimmed: the diff of {plural(missing, 'resource')} is not shown here; {where}."
