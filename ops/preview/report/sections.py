"""The parts of the report about one stack, each as Markdown or empty, and the differences between stacks. Pure."""

import re
from collections.abc import Iterator, Sequence

from ops.preview.model import (
    SECRET,
    Diagnostic,
    Drift,
    Exposure,
    Outcome,
    PolicyResult,
    Preview,
    PropertyDiff,
    Step,
    logical_name,
)
from ops.preview.report.automations import edited_in_ui
from ops.preview.report.markup import bullets, capped, capped_table, code, details, fence, plural, table

# An exemption that ends within so many days is marked with a clock.
EXPIRES_SOON_DAYS = 14
# From the worst operation to the most harmless one.
ORDER = ("delete", "replace", "update", "create", "import")

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
_PAST = {"delete": "deleted", "replace": "replaced", "update": "updated", "create": "created", "import": "imported"}
# How the engine refuses to delete or replace a protected resource (3.256).
_PROTECTED = "currently marked for protection"


def stack_name(preview: Preview) -> str:
    """As code, and short: where nothing else fits, the line with the verdict is cut, and half of a code is not code any more."""
    return code(preview.stack[:100])


def verdict(preview: Preview) -> str:
    """The line that comes first: the worst of the preview, then the rest in figures."""
    icon, worst = _worst(preview)
    rest = " · ".join(_figures(preview, icon))
    return f"- {icon} **{stack_name(preview)}: {worst}**{f' — {rest}' if rest else ''}"


def _worst(preview: Preview) -> tuple[str, str]:
    errors = _messages(preview, "error")
    if errors and all(_PROTECTED in error.message for error in errors):
        return "🚨", "refused, because what is protected would be lost"
    first = preview.outcome == "create" and not preview.state_digest
    return _ICONS[preview.outcome], {
        "error": "the preview failed" if preview.failure else "the drift could not be checked",
        "stateful": "data or secrets would be lost",
        "policy": "refused by policy",
        "delete": "something is deleted",
        "replace": "something is replaced",
        "update": "changes in place",
        "create": "first deployment" if first else "something new",
        "none": "no change",
    }[preview.outcome]


def _figures(preview: Preview, icon: str) -> Iterator[str]:
    # The worst comes first, but it must not hide the second worst.
    if icon == "❌" and any(step.destroys_data for step in preview.steps):
        yield "🚨 data or secrets would be lost"
    if preview.violated and preview.outcome != "policy":
        yield "⛔ refused by policy"
    changes = [f"{preview.counts[operation]} {_PAST[operation]}" for operation in ORDER if preview.counts.get(operation)]
    if preview.outputs and not changes:
        changes.append(plural(len(preview.outputs), "output") + " changed")
    if changes:
        yield ", ".join(changes)
    if hosts := {each.what.split()[0] for each in preview.exposures if each.change == "gained" and _from_afar(each)}:
        yield f"🔓 {plural(len(hosts), 'address', 'addresses')} gained"
    if preview.rotations:
        yield f"🔑 {plural(len(preview.rotations), 'secret')} rotated"
    if seconds := [outage.seconds for outage in preview.outages if outage.seconds]:
        yield f"⏱️ {plural(len(seconds), 'restart')}, {'each ' if len(seconds) > 1 else ''}up to {max(seconds)} s"
    if preview.drift.count:
        yield f"🌊 drift in {plural(preview.drift.count, 'resource')}"
    if soon := sum(_expires_soon(result, preview) for result in preview.policies):
        yield f"⏰ {plural(soon, 'exemption')} about to end"


def _from_afar(exposure: Exposure) -> bool:
    """Whether another machine reaches it: a site of the gateway is reached by its host, a loopback port from here only."""
    return exposure.kind in {"host", "record", "domain"} or (exposure.kind == "port" and "this host" not in exposure.what)


# --- Messages --------------------------------------------------------------------------------------------------------------


def failure(preview: Preview) -> str:
    if not preview.failure:
        return ""
    lines = _lines(_messages(preview, "error")) or [preview.failure]
    some, more = capped(lines, 40)
    return f"#### ❌ The preview failed\n\n{fence([*some, *more])}"


def warnings(preview: Preview, cap: int | None) -> str:
    """Warnings of the program, the providers and the engine, folded away."""
    messages = _messages(preview, "warning")
    if not messages:
        return ""
    some, more = capped(messages, cap)
    return details(f"Warnings: {len(messages)}", fence([*_lines(some), *more]))


def _messages(preview: Preview, severity: str) -> list[Diagnostic]:
    return [diagnostic for diagnostic in preview.diagnostics if diagnostic.severity == severity]


def _lines(diagnostics: Sequence[Diagnostic]) -> list[str]:
    """Messages with names in place of URNs, each below the resource that it is about."""
    lines = []
    for diagnostic in diagnostics:
        lines += [f"{logical_name(diagnostic.urn)}:"] if diagnostic.urn else []
        lines += re.sub(r"urn:pulumi:[^\s\"'`]+::([\w.-]+)", r"\1", diagnostic.message).splitlines()
    return lines


# --- Steps -----------------------------------------------------------------------------------------------------------------


def counts(preview: Preview) -> str:
    operations = [operation for operation in ORDER if preview.counts.get(operation)]
    if not operations:
        return ""
    return table([*operations, "unchanged"], [[str(preview.counts.get(name, 0)) for name in (*operations, "same")]])


def attention(preview: Preview, cap: int | None) -> str:
    """Every deletion and replacement; those that destroy data come first, and are never left out."""
    steps = sorted(
        (step for step in preview.steps if step.operation in {"delete", "replace"}),
        key=lambda step: (not step.destroys_data, step.operation != "delete", step.urn),
    )
    if not steps:
        return ""
    # Another image replaces many containers at once, and has a table of its own.
    images = [step for step in steps if step.reasons == ("image",) and not step.destroys_data]
    others = [step for step in steps if step not in images] if len(images) > 1 else steps
    lines = [_attention_line(step) for step in others]
    if others is not steps:
        names = ", ".join(code(step.name) for step in images)
        lines.append(f"♻️ **replace** {plural(len(images), 'container')} because of {code('image')} (below): {names}")
    destructive = sum(step.destroys_data for step in steps)
    return f"#### Review these first\n\n{bullets(lines, None if cap is None else max(cap, destructive))}"


def _attention_line(step: Step) -> str:
    icon = "🚨" if step.destroys_data else _ICONS["delete" if step.operation == "delete" else "replace"]
    line = f"{icon} **{step.operation}** {code(step.name)} ({_kind(step.type)})"
    if step.operation == "delete":
        line += " because the program no longer has it"
    elif forced := [change for change in step.diffs if change.forces]:
        line += f" because of {_changes(forced)}"
    notes = []
    if step.destroys_data:
        notes.append("**what it holds is lost**")
    if step.retained:
        notes.append("it stays where it is and is only forgotten")
    if step.protected:
        notes.append("it is protected, so the update refuses this")
    return "; ".join([line, *notes])


def _changes(diffs: Sequence[PropertyDiff]) -> str:
    some, more = capped(diffs, 3)
    return "; ".join([*map(_change, some), *more])


def _change(diff: PropertyDiff) -> str:
    if diff.old is None or diff.new is None:
        return f"{code(diff.path)} ({'added' if diff.old is None else 'removed'})"
    if diff.lines:
        return f"{code(diff.path)} ({plural(sum(line[:1] in '+-' for line in diff.lines), 'line')} changed)"
    if diff.old == diff.new == SECRET:
        return f"{code(diff.path)} (another secret)"
    return f"{code(diff.path)}: {_reference(diff.old)} → {_reference(diff.new)}"


def _kind(type_: str) -> str:
    return code(short_type(type_))


def short_type(type_: str) -> str:
    """``docker:index/volume:Volume`` -> ``docker Volume``."""
    provider, _, rest = type_.partition(":")
    if provider == "pulumi" and rest.startswith("providers:"):
        return f"{rest.removeprefix('providers:')} provider"
    return f"{provider} {rest.rpartition(':')[2]}"


def between_stacks(previews: Sequence[Preview], cap: int | None) -> Iterator[str]:
    """The resources to which not the same is done in every stack."""
    operations = [{(step.type, step.name): step.operation for step in preview.steps} for preview in previews]
    every = {key for by_key in operations for key in by_key}
    differing = sorted(key for key in every if len({by_key.get(key) for by_key in operations}) > 1)
    if differing:
        rows = capped_table(
            ["resource", *map(stack_name, previews)],
            differing,
            cap,
            lambda key: [code(key[1]), *(by_key.get(key, "-") for by_key in operations)],
        )
        yield details(f"Different between the stacks: {plural(len(differing), 'resource')}", rows)


# --- Risks -----------------------------------------------------------------------------------------------------------------


def exposure(preview: Preview, cap: int | None) -> str:
    """Addresses and rules that are gained, lost or changed."""
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
    changes, kinds = list(icons), list(nouns)
    lines = [
        f"{(protecting if each.kind in {'rule', 'path'} else icons)[each.change]} **{each.change}** {nouns[each.kind]} "
        f"{code(each.what)} (by {code(each.where)})"
        for each in sorted(preview.exposures, key=lambda each: (changes.index(each.change), kinds.index(each.kind), each.what))
    ]
    return f"#### Reachable from outside\n\n{bullets(lines, cap)}"


def downtime(preview: Preview) -> str:
    if not preview.outages:
        return ""
    rows = [
        [code(outage.part), code(outage.what), f"up to {outage.seconds} s" if outage.seconds else "for good"]
        for outage in preview.outages
    ]
    return f"#### Downtime\n\n{table(['restarts', 'what stops', 'how long'], rows)}"


def rotation(preview: Preview) -> str:
    """The secrets that are rotated, and what a person has to do afterwards."""
    if not preview.rotations:
        return ""
    lines = [f"🔑 {code(each.name)}: {code(each.title)}. Afterwards: {code(each.afterwards)}" for each in preview.rotations]
    return f"#### Rotated secrets\n\n{bullets(lines, None)}"


def images(preview: Preview, cap: int | None) -> str:
    if not preview.image_changes:
        return ""
    containers: dict[tuple[str | None, str | None], list[str]] = {}
    for change in preview.image_changes:
        containers.setdefault((change.old, change.new), []).append(change.container)
    rows = [
        ("<br>".join(map(code, names)), f"{_reference(old)}<br>→ {_reference(new)}") for (old, new), names in containers.items()
    ]
    return f"#### Images\n\n{capped_table(['container', 'from → to'], rows, cap, tuple)}"


def _reference(image: str | None) -> str:
    if image is None:
        return "-"
    return code(re.sub(r"(@sha256:[0-9a-f]{12})[0-9a-f]{52}", r"\1…", image))


# --- Policies --------------------------------------------------------------------------------------------------------------


def policies(preview: Preview, cap: int | None) -> str:
    """The policies' objections, the exemptions from them, and the rules that could not run yet."""
    if not preview.policy_pack:
        return "" if preview.failure else "#### Policies\n\n⚠️ No policy pack was loaded, so nothing was checked."
    ran = f"{code(preview.policy_pack)}, {plural(preview.rules_run, 'rule')}"
    if not preview.policies:
        if preview.failure:
            return f"#### Policies\n\n⚠️ {ran}: no objection so far, but they checked only a part of the stack."
        return f"#### Policies\n\n✅ {ran}: no objection."
    violated = [result for result in preview.policies if result.outcome == "violated"]
    exempted = [result for result in preview.policies if result.outcome == "exempted"]
    unchecked = [result for result in preview.policies if result.outcome == "could not run"]
    parts = [
        f"#### Policies\n\n{ran}: {len(violated)} violated, {len(exempted)} exempted, {len(unchecked)} could not run.",
        capped_table(["level", "rule", "resource", "what, and the remedy"], violated, cap, _violation) if violated else "",
        capped_table(["exempted until", "rule", "resource", "what"], exempted, cap, lambda result: _exemption(result, preview))
        if exempted
        else "",
        _unchecked(unchecked, cap) if unchecked else "",
    ]
    return "\n\n".join(filter(None, parts))


def _violation(result: PolicyResult) -> list[str]:
    # The rule's address is left out: policy/COVERAGE.md has it, and a branch's link may lead anywhere.
    weight = ", ".join(filter(None, [result.severity, f"CIS {', '.join(result.cis)}" if result.cis else ""]))
    return [
        "⛔ mandatory" if result.level == "mandatory" else "⚠️ advisory",
        "<br>".join(map(code, filter(None, [result.rule, weight]))),
        _resource(result),
        "<br>".join([code(result.message), *([code(result.remediation)] if result.remediation else [])]),
    ]


def _exemption(result: PolicyResult, preview: Preview) -> list[str]:
    days = _days_left(result, preview)
    left = "" if days is None else f"{result.expires} ({plural(days, 'day')} left)"
    return [f"⏰ {left}" if _expires_soon(result, preview) else left, code(result.rule), _resource(result), code(result.message)]


def _expires_soon(result: PolicyResult, preview: Preview) -> bool:
    days = _days_left(result, preview)
    return days is not None and days <= EXPIRES_SOON_DAYS


def _days_left(result: PolicyResult, preview: Preview) -> int | None:
    return None if result.expires is None else (result.expires - preview.made.date()).days


def _resource(result: PolicyResult) -> str:
    return code(logical_name(result.urn) or "the stack")


def _unchecked(results: Sequence[PolicyResult], cap: int | None) -> str:
    """By the rules that have to wait: many wait for the same values."""
    rules_at: dict[str, list[str]] = {}
    for result in results:
        value = f"{logical_name(result.urn)}: {result.message}" if result.urn else result.message
        rules_at.setdefault(value, []).append(result.rule)
    values_of: dict[str, list[str]] = {}
    for value, rules in rules_at.items():
        values_of.setdefault("<br>".join(map(code, sorted(rules))), []).append(value)
    rows = [(rules, "<br>".join(map(code, values))) for rules, values in values_of.items()]
    head = ["rules that the update runs", "because these are known after it only"]
    return details(f"Could not run yet: {len(results)}", capped_table(head, rows, cap, tuple))


# --- Drift, and what to do -------------------------------------------------------------------------------------------------


def drift(preview: Preview, cap: int | None) -> str:
    """Differences between what runs and the state."""
    drift = preview.drift
    if not drift.checked:
        return "Not checked."
    if drift.failure:
        unknown = f"❌ Could not be checked, so nothing is known about it: {code(drift.failure)}"
        return f"{unknown}. Found before that:\n\n{bullets(_drifted(drift), cap)}" if drift.steps else unknown
    if drift.count:
        intro = "None of this comes from the pull request. The update does not look at it unless it is run with `--refresh`."
        return f"{intro}\n\n{bullets(_drifted(drift), cap)}"
    return "✅ What runs matches the state." if preview.state_digest else "Nothing is deployed yet, so nothing can differ."


def _drifted(drift: Drift) -> list[str]:
    lines = []
    for step in drift.steps:
        how = (
            "is gone"
            if step.operation == "delete"
            else edited_in_ui(step) or "was changed by hand" + (f": {_changes(step.diffs)}" if step.diffs else "")
        )
        lines.append(f"🌊 {code(step.name)} ({_kind(step.type)}) {how}")
    return lines + [f"👻 {code(name)} has this stack's labels and is not in the state" for name in drift.unmanaged]


def how_to_apply(preview: Preview) -> str:
    if preview.failure:
        return "Not at all, until the problems above are fixed."
    if preview.drift.failure:
        return "Check for drift first; the update may meet changes that this preview did not see."
    if preview.violated:
        return "Not at all: the update is refused by the policies above until they hold or are exempted."
    if preview.outcome == "none":
        refresh = " `pulumi up --refresh` puts back what drifted." if preview.drift.steps else ""
        return f"There is nothing to apply.{refresh}"
    command = code(f"bin/ops apply --review review-{preview.stack}.json")
    refuses = (
        "It repeats this preview and refuses if anything differs: the commit, the stack's configuration, its state "
        "(something else was applied), an image's digest, a version, a step, or what really runs."
    )
    text = f"Merge, or {command} with the record of this preview. {refuses}"
    protected = sorted(step.name for step in preview.steps if step.protected and step.operation in {"delete", "replace"})
    if protected:
        text += (
            f"\n\nIt is refused as long as {', '.join(map(code, protected))} {'is' if len(protected) == 1 else 'are'} protected; "
            "`pulumi state unprotect URN` lifts that on purpose, after a backup."
        )
    return text


def footer(preview: Preview) -> str:
    """When, from what, and with which versions the preview was made."""
    hashes = {
        "head": preview.head,
        "base": preview.base,
        "config": preview.config_hash,
        "state": preview.state_digest,
    }
    facts = [f"{preview.made:%Y-%m-%d %H:%M} UTC", *(f"{name} {code(text[:12])}" for name, text in hashes.items() if text)]
    if not preview.state_digest:
        facts.append("state none yet")
    if preview.versions:
        facts.append(", ".join(code(f"{name} {version}") for name, version in preview.versions.items()))
    return f"<sub>{' · '.join(facts)}</sub>"
