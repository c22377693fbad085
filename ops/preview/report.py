"""Previews as one Markdown document for a pull request: the verdict first, the diff last. Pure.

The nine parts: a hidden token, the verdict of each stack, counts and what needs eyes, policies, drift, the diff of each stack,
risks (exposure, downtime, rotation, images), what differs between the stacks, and how to apply. A preview is a branch's, and the
report of it is posted under a bot's name: every text of the model is put into code, so that it can be neither markup, nor a
link, nor mention anybody. Not here: redaction; the model holds no secret.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ops.preview.model import SECRET, Diagnostic, Drift, Exposure, Outcome, PolicyResult, Preview, PropertyDiff, Step

# By which the comment to edit is found: the first line, the same for every report.
MARKER = "<!-- skyvern-preview -->"
# What GitHub takes in one comment, in UTF-16 units.
LIMIT = 65_536
# An exemption that ends within so many days is told with a clock.
EXPIRES_SOON_DAYS = 14

_ICONS: dict[Outcome, str] = {
    "error": "❌",
    "stateful": "🚨",
    "policy": "⛔",
    "delete": "🗑️",
    "replace": "♻️",
    "update": "✏️",
    "create": "🌱",
    "none": "✅",
}
_ORDER = ("delete", "replace", "update", "create", "import")
_PAST = {"delete": "deleted", "replace": "replaced", "update": "updated", "create": "created", "import": "imported"}
# Entries of one list and lines of one resource: the first that lets the report fit is taken.
_CAPS = ((60, 80), (25, 40), (8, 20), (3, 8))

# How the engine refuses to delete or replace a protected resource (3.256).
_PROTECTED = "currently marked for protection"

Item = TypeVar("Item")


def markdown(previews: Sequence[Preview], *, limit: int | None = LIMIT, link: str = "") -> str:
    """The report, at most ``limit`` long (None: whole). link: where the whole report is.

    Trimmed by whole resources: those that stay the way they were are left out first, then creations, then updates.
    """
    for entries, lines in ((None, None),) if limit is None else _CAPS:
        blocks = [_Diffs(preview, lines) for preview in previews]
        text = _assemble(previews, blocks, entries, None, link)
        if limit is None or _length(text) <= limit:
            return text
        bare = _assemble(previews, blocks, entries, set(), link)
        if _length(bare) <= limit:
            return _assemble(previews, blocks, entries, _fitting(blocks, limit - _length(bare)), link)
    verdicts = "\n".join([MARKER, *(_verdict(one) for one in previews)])
    return _cut(f"{verdicts}\n\n{_elsewhere(sum(len(one.steps) for one in previews), link)}\n", limit or LIMIT)


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _cut(text: str, limit: int) -> str:
    """Whole lines as far as they fit."""
    while _length(text) > limit and "\n" in text:
        text = text.rpartition("\n")[0]
    return text[: limit // 2] if _length(text) > limit else text


def _assemble(
    previews: Sequence[Preview], blocks: "Sequence[_Diffs]", entries: int | None, shown: "set[tuple[int, int]] | None", link: str
) -> str:
    """shown: (stack, resource) whose diff is told; None: every one."""
    parts = [MARKER, _token(previews), "## Preview", "\n".join(_verdict(one) for one in previews)]
    if len(previews) > 1:
        parts += _stacks_apart(previews, entries)
    for index, (preview, diffs) in enumerate(zip(previews, blocks, strict=True)):
        mine = None if shown is None else {resource for stack, resource in shown if stack == index}
        parts += [part for part in _stack(preview, diffs, entries, mine, link) if part]
    return "\n\n".join(parts) + "\n"


def _stack(preview: Preview, diffs: "_Diffs", entries: int | None, shown: set[int] | None, link: str) -> Iterator[str]:
    yield f"### Stack {_stack_name(preview)}"
    yield _failure(preview)
    yield _counts(preview)
    yield _eyes(preview, entries)
    yield _exposure(preview, entries)
    yield _downtime(preview)
    yield _rotation(preview)
    yield _images(preview, entries)
    yield _policies(preview, entries)
    yield _warnings(preview, entries)
    yield _drift(preview, entries)
    yield diffs.block(shown, link)
    yield _apply(preview)
    yield _footer(preview)


# --- Text that is safe in Markdown -----------------------------------------------------------------------------------------


def code(text: str) -> str:
    """A text as code on one line, whatever is in it; also within a table."""
    # A backslash before it would escape our backslash, and the | would end the cell and with it the code.
    plain = re.sub(r"\\(?=\|)", r"\\ ", " ".join(text.split())).replace("|", "\\|")
    ticks = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    space = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{ticks}{space}{plain or ' '}{space}{ticks}"


def _stack_name(preview: Preview) -> str:
    """As code, and short: where nothing else fits, the line with the verdict is cut, and half of a code is none."""
    return code(preview.stack[:100])


def _fence(lines: Iterable[str], language: str = "") -> str:
    body = "\n".join(lines)
    ticks = "`" * max(3, max((len(run) for run in re.findall("`+", body)), default=0) + 1)
    return f"{ticks}{language}\n{body}\n{ticks}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell for cell in line)} |" for line in lines)


def _capped(items: Sequence[Item], cap: int | None) -> tuple[Sequence[Item], str]:
    """The first items, and what to say about the others."""
    if cap is None or len(items) <= cap:
        return items, ""
    return items[:cap], f"… and {len(items) - cap} more"


def _list(items: Sequence[Item], cap: int | None, told: Callable[[Item], str]) -> str:
    some, more = _capped(items, cap)
    return "\n".join([*(f"- {told(one)}" for one in some), *([f"- {more}"] if more else [])])


def _plural(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


# --- The parts -------------------------------------------------------------------------------------------------------------


def _token(previews: Sequence[Preview]) -> str:
    """What this report is about, for programs: it decides whether what is applied later is what was told here."""
    stacks = {
        one.stack: {
            "head": one.head,
            "base": one.base,
            "config": one.config_hash,
            "state": one.state_digest,
            "versions": dict(one.versions),
        }
        for one in previews
    }
    # Two hyphens would end the comment.
    text = json.dumps(stacks, sort_keys=True).replace("--", "-\\u002d")
    return f"<!-- token: {text} -->"


def _verdict(preview: Preview) -> str:
    said = {
        "error": "the preview failed" if preview.failure else "the drift could not be checked",
        "stateful": "data or secrets would be lost",
        "policy": "refused by policy",
        "delete": "something is deleted",
        "replace": "something is replaced",
        "update": "changes in place",
        "create": "something new",
        "none": "no change",
    }[preview.outcome]
    icon = _ICONS[preview.outcome]
    if preview.outcome == "create" and not preview.state_digest:
        said = "first deployment"
    errors = [one for one in preview.diagnostics if one.severity == "error"]
    if errors and all(_PROTECTED in one.message for one in errors):
        icon, said = "🚨", "refused, because what is protected would be lost"
    more = []
    # The worst comes first, but it must not hide the second worst.
    if icon == "❌" and any(map(_is_siren, preview.steps)):
        more.append("🚨 data or secrets would be lost")
    if preview.violated and preview.outcome != "policy":
        more.append("⛔ refused by policy")
    changes = [f"{preview.counts[one]} {_PAST[one]}" for one in _ORDER if preview.counts.get(one)]
    hosts = {one.what.split()[0] for one in preview.exposures if one.change == "gained" and _from_afar(one)}
    if preview.outputs and not changes:
        changes.append(_plural(len(preview.outputs), "output") + " changed")
    more += [", ".join(changes)] if changes else []
    if hosts:
        more.append(f"🔓 {_plural(len(hosts), 'address', 'addresses')} gained")
    if preview.rotations:
        more.append(f"🔑 {_plural(len(preview.rotations), 'secret')} rotated")
    if restarts := [one.seconds for one in preview.outages if one.seconds]:
        more.append(f"⏱️ {_plural(len(restarts), 'restart')}, {'each ' if len(restarts) > 1 else ''}up to {max(restarts)} s")
    if preview.drift.steps or preview.drift.unmanaged:
        more.append(f"🌊 drift in {_plural(len(preview.drift.steps) + len(preview.drift.unmanaged), 'resource')}")
    if soon := [one for one in preview.policies if _expires_soon(one, preview)]:
        more.append(f"⏰ {_plural(len(soon), 'exemption')} about to end")
    rest = f" — {' · '.join(more)}" if more else ""
    return f"- {icon} **{_stack_name(preview)}: {said}**{rest}"


def _from_afar(one: Exposure) -> bool:
    """Whether another machine reaches it: a site of the gateway is reached by its host, and a loopback port by nobody."""
    return one.kind in {"host", "record", "domain"} or (one.kind == "port" and "this host" not in one.what)


def _is_siren(step: Step) -> bool:
    return step.stateful and step.operation in {"delete", "replace"} and not step.retained


def _failure(preview: Preview) -> str:
    if not preview.failure:
        return ""
    errors = [one for one in preview.diagnostics if one.severity == "error"]
    told = [line for one in errors for line in (*_about(one), *_readable(one.message).splitlines())] or [preview.failure]
    some, more = _capped(told, 40)
    return f"#### ❌ The preview failed\n\n{_fence([*some, *([more] if more else [])])}"


def _readable(message: str) -> str:
    """A message with names in place of URNs."""
    return re.sub(r"urn:pulumi:[^\s\"'`]+::([\w.-]+)", r"\1", message)


def _about(diagnostic: Diagnostic) -> list[str]:
    return [f"{_name(diagnostic.urn)}:"] if diagnostic.urn else []


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def _counts(preview: Preview) -> str:
    names = [name for name in (*_ORDER, "same") if preview.counts.get(name) or name == "same"]
    if not any(preview.counts.get(name) for name in _ORDER):
        return ""
    return _table(
        [{"same": "unchanged"}.get(name, name) for name in names], [[str(preview.counts.get(name, 0)) for name in names]]
    )


def _eyes(preview: Preview, cap: int | None) -> str:
    """Every deletion and replacement, the stateful ones first."""
    steps = sorted(
        (one for one in preview.steps if one.operation in {"delete", "replace"}),
        key=lambda one: (not _is_siren(one), one.operation != "delete", one.urn),
    )
    if not steps:
        return ""
    # Another image replaces many containers at once, and has a table of its own.
    images = [one for one in steps if one.reasons == ("image",) and not _is_siren(one)]
    others = [one for one in steps if one not in images] if len(images) > 1 else steps
    lines = [_eye(one) for one in others]
    if others is not steps:
        names = ", ".join(code(one.name) for one in images)
        lines.append(f"♻️ **replace** {_plural(len(images), 'container')} because of {code('image')} (below): {names}")
    sirens = sum(map(_is_siren, steps))
    return f"#### Review these first\n\n{_list(lines, None if cap is None else max(cap, sirens), str)}"


def _eye(step: Step) -> str:
    icon = "🚨" if _is_siren(step) else _ICONS["delete" if step.operation == "delete" else "replace"]
    what = f"{icon} **{step.operation}** {code(step.name)} ({_kind(step.type)})"
    if step.operation == "delete":
        why = " because the program no longer has it"
    else:
        forced = [one for one in step.diffs if one.forces]
        some, more = _capped(forced, 3)
        reasons = "; ".join(_change(one) for one in some) + (f"; {more}" if more else "")
        why = f" because of {reasons}" if forced else ""
    notes = []
    if _is_siren(step):
        notes.append("**what it holds is lost**")
    if step.retained:
        notes.append("it stays where it is and is only forgotten")
    if step.protected:
        notes.append("it is protected, so the update refuses this")
    return what + why + "".join(f"; {note}" for note in notes)


def _change(one: PropertyDiff) -> str:
    if one.old is None or one.new is None:
        return f"{code(one.path)} ({'added' if one.old is None else 'removed'})"
    if one.lines:
        return f"{code(one.path)} ({_plural(len([line for line in one.lines if line[:1] in '+-']), 'line')} changed)"
    if one.old == one.new == SECRET:
        return f"{code(one.path)} (another secret)"
    return f"{code(one.path)}: {_reference(one.old)} → {_reference(one.new)}"


def _kind(type_: str) -> str:
    """``docker:index/volume:Volume`` -> ``docker Volume``, as code."""
    return code(_short_type(type_))


def _short_type(type_: str) -> str:
    provider, _, rest = type_.partition(":")
    if provider == "pulumi" and rest.startswith("providers:"):
        return f"{rest.removeprefix('providers:')} provider"
    return f"{provider} {rest.rpartition(':')[2]}"


def _exposure(preview: Preview, cap: int | None) -> str:
    if not preview.exposures:
        return ""
    icons = {"gained": "🔓", "lost": "🔒", "changed": "🔁"}
    # A rule keeps people out: what is gained and lost is the other way round.
    protecting = {"gained": "🛡️", "lost": "⚠️", "changed": "🔁"}
    nouns = {
        "host": "host on the internet",
        "record": "DNS record",
        "site": "host that the gateway answers",
        "path": "rule of the gateway",
        "port": "published port",
        "domain": "domain",
        "rule": "rule at the edge",
        "code": "code in the server",
    }
    order = ("gained", "lost", "changed")
    found = sorted(preview.exposures, key=lambda one: (order.index(one.change), list(nouns).index(one.kind), one.what))
    lines = [
        f"{(protecting if one.kind in {'rule', 'path'} else icons)[one.change]} **{one.change}** {nouns[one.kind]} "
        f"{code(one.what)} (by {code(one.where)})"
        for one in found
    ]
    told = _list(lines, cap, str)
    return f"#### Reachable from outside\n\n{told}"


def _downtime(preview: Preview) -> str:
    if not preview.outages:
        return ""
    rows = [[code(one.part), code(one.what), f"up to {one.seconds} s" if one.seconds else "for good"] for one in preview.outages]
    return f"#### Downtime\n\n{_table(['restarts', 'what stops', 'how long'], rows)}"


def _rotation(preview: Preview) -> str:
    if not preview.rotations:
        return ""
    told = _list(
        preview.rotations, None, lambda one: f"🔑 {code(one.name)}: {code(one.title)}. Afterwards: {code(one.afterwards)}"
    )
    return f"#### Rotated secrets\n\n{told}"


def _images(preview: Preview, cap: int | None) -> str:
    if not preview.image_changes:
        return ""
    containers: dict[tuple[str | None, str | None], list[str]] = {}
    for one in preview.image_changes:
        containers.setdefault((one.old, one.new), []).append(one.container)
    some, more = _capped(list(containers.items()), cap)
    rows = [["<br>".join(map(code, names)), f"{_reference(old)}<br>→ {_reference(new)}"] for (old, new), names in some]
    return f"#### Images\n\n{_table(['container', 'from → to'], rows)}\n\n{more}".rstrip()


def _reference(image: str | None) -> str:
    if image is None:
        return "-"
    return code(re.sub(r"(@sha256:[0-9a-f]{12})[0-9a-f]{52}", r"\1…", image))


def _expires_soon(one: PolicyResult, preview: Preview) -> bool:
    return one.expires is not None and (one.expires - preview.made.date()).days <= EXPIRES_SOON_DAYS


def _policies(preview: Preview, cap: int | None) -> str:
    if not preview.policy_pack:
        return "" if preview.failure else "#### Policies\n\n⚠️ No policy pack was loaded, so nothing was checked."
    violated = [one for one in preview.policies if one.outcome == "violated"]
    exempted = [one for one in preview.policies if one.outcome == "exempted"]
    unchecked = [one for one in preview.policies if one.outcome == "could not run"]
    ran = f"{code(preview.policy_pack)}, {_plural(preview.rules_run, 'rule')}"
    if preview.failure and not preview.policies:
        return f"#### Policies\n\n⚠️ {ran}: no objection so far; they have seen a part of the stack only."
    if not preview.policies:
        return f"#### Policies\n\n✅ {ran}: no objection."
    said = [f"{len(violated)} violated", f"{len(exempted)} exempted", f"{len(unchecked)} could not run"]
    parts = [f"#### Policies\n\n{ran}: {', '.join(said)}."]
    if violated:
        some, more = _capped(violated, cap)
        rows = [
            [
                "⛔ mandatory" if one.level == "mandatory" else "⚠️ advisory",
                "<br>".join([code(one.rule), *([code(_weight(one))] if _weight(one) else [])]),
                code(_name(one.urn) or "the stack"),
                "<br>".join([code(one.message), *([code(one.remediation)] if one.remediation else [])]),
            ]
            for one in some
        ]
        table = _table(["level", "rule", "resource", "what, and the remedy"], rows)
        parts.append(f"{table}\n\n{more}".rstrip())
    if exempted:
        rows = [
            [
                f"⏰ {_days(one, preview)}" if _expires_soon(one, preview) else _days(one, preview),
                code(one.rule),
                code(_name(one.urn) or "the stack"),
                code(one.message),
            ]
            for one in _capped(exempted, cap)[0]
        ]
        parts.append(_table(["exempted until", "rule", "resource", "what"], rows))
    if unchecked:
        rules_at: dict[str, list[str]] = {}
        for one in unchecked:
            where = f"{_name(one.urn)}: {one.message}" if one.urn else one.message
            rules_at.setdefault(where, []).append(one.rule)
        places: dict[str, list[str]] = {}
        for where, rules in rules_at.items():
            places.setdefault("<br>".join(map(code, sorted(rules))), []).append(where)
        unrun, more = _capped(list(places.items()), cap)
        rows = [[names, "<br>".join(map(code, wheres))] for names, wheres in unrun]
        table = _table(["rules that the update runs", "because these are known after it only"], rows)
        parts.append(f"<details><summary>Could not run yet: {len(unchecked)}</summary>\n\n{table}\n{more}\n</details>")
    return "\n\n".join(parts)


def _weight(one: PolicyResult) -> str:
    """``high, CIS 5.4``. The rule's address is left out: policy/COVERAGE.md has it, and a branch's link may lead anywhere."""
    return ", ".join(filter(None, [one.severity, f"CIS {', '.join(one.cis)}" if one.cis else ""]))


def _days(one: PolicyResult, preview: Preview) -> str:
    if one.expires is None:
        return ""
    days = (one.expires - preview.made.date()).days
    return f"{one.expires} ({_plural(days, 'day')} left)"


def _warnings(preview: Preview, cap: int | None) -> str:
    found = [one for one in preview.diagnostics if one.severity == "warning"]
    if not found:
        return ""
    some, more = _capped(found, cap)
    lines = [line for one in some for line in (*_about(one), *_readable(one.message).splitlines())]
    return f"<details><summary>Warnings: {len(found)}</summary>\n\n{_fence([*lines, *([more] if more else [])])}\n</details>"


def _drift(preview: Preview, cap: int | None) -> str:
    drift = preview.drift
    if not drift.checked:
        return "#### Drift\n\nNot checked."
    if drift.failure:
        told = f"#### Drift\n\n❌ Could not be checked, so nothing is known about it: {code(drift.failure)}"
        return told if not drift.steps else f"{told}. What was found until then:\n\n{_list(_drifted(drift), cap, str)}"
    if not drift.steps and not drift.unmanaged:
        if not preview.state_digest:
            return "#### Drift\n\nNothing is deployed yet, so nothing can differ."
        return "#### Drift\n\n✅ What runs matches the state."
    intro = "None of this comes from the pull request. The update does not look at it unless it is run with `--refresh`."
    return f"#### Drift\n\n{intro}\n\n{_list(_drifted(drift), cap, str)}"


def _drifted(drift: Drift) -> list[str]:
    lines = []
    for step in drift.steps:
        if step.operation == "delete":
            lines.append(f"🌊 {code(step.name)} ({_kind(step.type)}) is gone")
        else:
            some, more = _capped(step.diffs, 3)
            told = "; ".join(map(_change, some)) + (f"; {more}" if more else "")
            lines.append(f"🌊 {code(step.name)} ({_kind(step.type)}) was changed by hand{': ' if told else ''}{told}")
    return lines + [f"👻 {code(one)} has this stack's labels and is not in the state" for one in drift.unmanaged]


def _apply(preview: Preview) -> str:
    if preview.failure:
        return "#### How to apply\n\nNot at all, until the problems above are fixed."
    if preview.drift.failure:
        return "#### How to apply\n\nCheck for drift first; the update may meet changes that this preview did not see."
    if preview.violated:
        return "#### How to apply\n\nNot at all: the update is refused by the policies above until they hold or are exempted."
    if preview.outcome == "none":
        return "#### How to apply\n\nThere is nothing to apply." + (
            " `pulumi up --refresh` puts back what drifted." if preview.drift.steps else ""
        )
    refuses = (
        "It repeats this preview and refuses if anything differs: the commit, the stack's configuration, its state "
        "(something else was applied), an image's digest, a version, a step, or what really runs."
    )
    protected = sorted(step.name for step in preview.steps if step.protected and step.operation in {"delete", "replace"})
    unprotect = (
        f"\n\nIt is refused as long as {', '.join(map(code, protected))} {'is' if len(protected) == 1 else 'are'} protected; "
        "`pulumi state unprotect URN` lifts that on purpose, after a backup."
        if protected
        else ""
    )
    command = code(f"bin/ops apply --review review-{preview.stack}.json")
    return f"#### How to apply\n\nMerge, or {command} with the record of this preview. {refuses}{unprotect}"


def _footer(preview: Preview) -> str:
    versions = ", ".join(code(f"{name} {version}") for name, version in preview.versions.items())
    hashes = [
        f"head {code(preview.head[:12])}" if preview.head else "",
        f"base {code(preview.base[:12])}" if preview.base else "",
        f"config {code(preview.config_hash[:12])}" if preview.config_hash else "",
        f"state {code(preview.state_digest[:12])}" if preview.state_digest else "state none yet",
    ]
    about = " · ".join([f"{preview.made:%Y-%m-%d %H:%M} UTC", *filter(None, hashes), *([versions] if versions else [])])
    return f"<sub>{about}</sub>"


def _stacks_apart(previews: Sequence[Preview], cap: int | None) -> Iterator[str]:
    """What is not done to every stack alike."""
    operations = [{(step.type, step.name): step.operation for step in one.steps} for one in previews]
    apart = sorted({key for one in operations for key in one if any(other.get(key) != one[key] for other in operations)})
    if apart:
        some, more = _capped(apart, cap)
        rows = [[code(name), *(one.get((type_, name), "-") for one in operations)] for type_, name in some]
        table = _table(["resource", *(_stack_name(one) for one in previews)], rows)
        number = _plural(len(apart), "resource")
        yield f"<details><summary>Different between the stacks: {number}</summary>\n\n{table}\n\n{more}\n</details>"


# --- The diff --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """One resource's lines. rank: the lower, the sooner it is told when not all fit."""

    rank: tuple[bool, int, str]
    lines: tuple[str, ...]


class _Diffs:
    """The diff of one stack, by resource."""

    def __init__(self, preview: Preview, cap: int | None) -> None:
        self.blocks = [_block(step, cap) for step in preview.steps]
        if preview.outputs:
            lines = ["@@ outputs of the stack @@", *(line for one in preview.outputs for line in _diff_lines(one))]
            self.blocks.append(_Block((True, len(_ORDER), ""), tuple(lines)))

    def block(self, shown: set[int] | None, link: str) -> str:
        """The diff with the resources of these numbers, in the stack's order; None: all."""
        if not self.blocks:
            return ""
        told = [one for index, one in enumerate(self.blocks) if shown is None or index in shown]
        missing = len(self.blocks) - len(told)
        note = f"\n\n{_elsewhere(missing, link)}" if missing else ""
        summary = f"<details><summary>Diff of {_plural(len(self.blocks), 'resource')}</summary>"
        diff = "" if not told else "\n\n" + _fence((line for one in told for line in one.lines), "diff")
        return f"{summary}{diff}{note}\n\n</details>"


def _fitting(blocks: Sequence[_Diffs], room: int) -> set[tuple[int, int]]:
    """(stack, resource) of the resources that fit into the room, the weightiest first."""
    room -= 200 * len(blocks)
    chosen = set()
    ranked = sorted((one.rank, stack, index) for stack, diffs in enumerate(blocks) for index, one in enumerate(diffs.blocks))
    for _, stack, index in ranked:
        size = _length("\n".join(blocks[stack].blocks[index].lines)) + 1
        if size <= room:
            room -= size
            chosen.add((stack, index))
    return chosen


def _elsewhere(missing: int, link: str) -> str:
    where = f"they are in [the whole report]({link})" if link else "`bin/ops preview --limit 0` shows them"
    return f"✂️ Trimmed: the diff of {_plural(missing, 'resource')} is not shown here; {where}."


def _block(step: Step, cap: int | None) -> _Block:
    rank = (not _is_siren(step), _ORDER.index(step.operation), step.urn)
    lines = [line for one in step.diffs for line in _diff_lines(one)]
    if step.operation == "delete":
        lines = ["- all of it"]
    # A creation is told by its beginning: all of it is new.
    most = None if cap is None else cap // 4 if step.operation in {"create", "import"} else cap
    some, more = _capped(lines, most)
    head = f"@@ {step.operation} {step.name} ({_short_type(step.type)}) @@"
    lines = [head, *some, *([f"# {more} lines"] if more else [])]
    # A name or a path with a line break would end the line that says what it is.
    return _Block(rank, tuple(" ".join(line.splitlines()) for line in lines))


def _diff_lines(one: PropertyDiff) -> Iterator[str]:
    forces = "   # forces the replacement" if one.forces else ""
    if one.lines:
        yield f"# {one.path}:{forces}"
        for line in one.lines:
            yield f"{line[0]}     {line[1:]}"
        return
    if one.old is not None:
        yield f"- {one.path}: {one.old}{'' if one.new is not None else forces}"
    if one.new is not None:
        yield f"+ {one.path}: {one.new}{forces}"
