"""The record of a reviewed preview, and the differences since: only what was reviewed is applied.

A record holds all that a plan depends on: the files (git's tree of the tested merge, which main has after it), configuration,
images, versions, state and drift, and the steps themselves. Nothing in it is secret, because a preview has no secrets. Two
secrets look alike in a step; the configuration's hash (over their ciphertexts), the state's digest and the tree distinguish them.
Not here: the preview (ops/preview), and the update that follows (ops/review/apply.py).
"""

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ops.errors import UserError
from ops.preview.model import Preview, Step
from ops.stack.stack import Stack

# The most names in one line; the rest is counted.
MOST_NAMES = 3


@dataclass(frozen=True, kw_only=True)
class Record:
    """The plan that a person reviewed, and what it depends on.

    tree: 40 hex digits, ``git rev-parse HEAD^{tree}``. commit: what was checked out. made: in UTC. The others: as in Preview.
    """

    # For pydantic: an unknown key is an error; ignored, it would be left out of the comparison.
    __pydantic_config__ = ConfigDict(extra="forbid")

    form: Literal[1] = 1
    stack: str
    tree: str
    commit: str
    made: datetime.datetime
    config_hash: str
    state_digest: str
    versions: Mapping[str, str]
    images: Mapping[str, str]
    steps: tuple[Step, ...]
    drift: tuple[Step, ...] = field(default=())
    unmanaged: tuple[str, ...] = field(default=())


_RECORD = TypeAdapter(Record)


def record(preview: Preview, *, tree: str) -> Record:
    """The record of a preview; UserError for one that must not be applied at all."""
    if preview.failed:
        raise UserError(
            f"stack {preview.stack}: no review record: the preview failed; {preview.failure or preview.drift.failure}"
        )
    if preview.violated:
        raise UserError(f"stack {preview.stack}: no review record: a mandatory policy refuses the change; see the report")
    return Record(
        stack=preview.stack,
        tree=tree,
        commit=preview.head,
        made=preview.made,
        config_hash=preview.config_hash,
        state_digest=preview.state_digest,
        versions=preview.versions,
        images=preview.images,
        steps=preview.steps,
        drift=preview.drift.steps,
        unmanaged=preview.drift.unmanaged,
    )


def dump(reviewed: Record) -> str:
    """A JSON document, the same for the same record."""
    return _RECORD.dump_json(reviewed, indent=2).decode() + "\n"


def load(path: Path) -> Record:
    """The record in a file; UserError in one line for anything else."""
    try:
        return _RECORD.validate_json(path.read_bytes())
    except OSError as missing:
        raise UserError(f"{path}: cannot be read ({missing.strerror}); make it with bin/ops review") from missing
    except ValidationError as wrong:
        where = ".".join(str(part) for part in wrong.errors()[0]["loc"]) or "the document"
        raise UserError(f"{path}: {where}: is not a review record of this version; make it with bin/ops review") from None


def differences(reviewed: Record, now: Record) -> tuple[str, ...]:
    """The differences, most telling first, one clause each; empty if the plan is still the reviewed one."""
    return tuple(_differences(reviewed, now))


def _differences(reviewed: Record, now: Record) -> Iterator[str]:
    if reviewed.stack != now.stack:
        yield f"the record is of stack {reviewed.stack}"
        return
    for container in sorted({*reviewed.images, *now.images}):
        before, after = reviewed.images.get(container), now.images.get(container)
        if before != after:
            yield f"the image of {container}: {before or 'none'} was reviewed, {after or 'none'} would run"
    if reviewed.config_hash != now.config_hash:
        yield f"the configuration ({Stack(now.stack).file_name} or Pulumi.yaml)"
    for name in sorted({*reviewed.versions, *now.versions}):
        before, after = reviewed.versions.get(name), now.versions.get(name)
        if before != after:
            yield f"the version of {name}: {before or 'none'} was reviewed, {after or 'none'} is here"
    if reviewed.state_digest != now.state_digest:
        yield f"the state: something was applied after the preview of {reviewed.made:%Y-%m-%d %H:%M} UTC"
    yield from _drift(reviewed, now)
    yield from _plan(reviewed.steps, now.steps)
    if reviewed.tree != now.tree:
        yield f"the files: tree {reviewed.tree[:12]} was reviewed, {now.tree[:12]} is checked out"


def _drift(reviewed: Record, now: Record) -> Iterator[str]:
    before, after = {step.urn: step for step in reviewed.drift}, {step.urn: step for step in now.drift}
    for urn, step in after.items():
        if before.get(urn) != step:
            paths = ", ".join(diff.path for diff in step.diffs[:MOST_NAMES])
            yield f"{step.name}: removed by hand" if step.operation == "delete" else f"{step.name}: changed by hand ({paths})"
    if gone := [step.name for urn, step in before.items() if urn not in after]:
        yield f"no longer drifted: {_names(gone)}"
    if new := [name for name in now.unmanaged if name not in reviewed.unmanaged]:
        yield f"not in the state: {_names(new)}"
    if gone := [name for name in reviewed.unmanaged if name not in now.unmanaged]:
        yield f"removed: {_names(gone)}"


def _plan(reviewed: tuple[Step, ...], now: tuple[Step, ...]) -> Iterator[str]:
    before, after = {step.urn: step for step in reviewed}, {step.urn: step for step in now}
    changes = [
        f"{step.operation} {step.name}" + ("" if urn not in before else f" ({_difference(before[urn], step)})")
        for urn, step in after.items()
        if before.get(urn) != step
    ]
    changes += [f"no longer {step.operation} {step.name}" for urn, step in before.items() if urn not in after]
    if changes:
        yield f"the plan: {_names(changes)}"


def _difference(before: Step, after: Step) -> str:
    if before.operation != after.operation:
        return f"{before.operation} was reviewed"
    paths = {diff.path for diff in {*before.diffs} ^ {*after.diffs}}
    return f"other values of {_names(sorted(paths))}" if paths else "for other reasons"


def _names(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
