"""Resources as the pack sees them, and what it says about them."""

import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from policy.rules import RULES
from policy.rules.framework.evaluation import Evaluation, Report
from policy.rules.framework.levels import Levels, parse
from policy.rules.framework.rule import Resource, Stack
from policy.rules.framework.values import Inputs, decode
from tests.program import Program, Secret

PACK = Path(__file__).resolve().parents[2] / "policy"
RULE = {rule.name: rule for rule in RULES}
TODAY = datetime.date(2026, 11, 22)
SIGNATURE = "4dabf18193072939515e22adb298388d"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def secret(value: Any) -> dict[str, Any]:
    """A secret as it is on the wire."""
    return {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "value": value}


def levels(text: str | None = None) -> Levels:
    """The committed levels, or those of a text."""
    return parse((PACK / "levels.yaml").read_text() if text is None else text, RULES)


def resource(type_: str, name: str = "one", /, *, stack: str = "dev", protect: bool = False, **inputs: Any) -> Resource:
    """A resource with inputs as they are on the wire."""
    secrets: set[str] = set()
    values = decode(inputs, secrets=secrets)
    urn = f"urn:pulumi:{stack}::skyvern::{type_}::{name}"
    return Resource(urn=urn, type=type_, inputs=Inputs(values, secrets=frozenset(secrets)), protect=protect)


def stack(*resources: Resource, name: str = "dev") -> Stack:
    """A stack of resources."""
    return Stack(name=name, resources=resources)


def wire(value: Any) -> Any:
    """What tests.program recorded, with its secrets marked as on the wire."""
    match value:
        case Secret():
            return secret(wire(value.value))
        case dict():
            return {key: wire(item) for key, item in value.items()}
        case list():
            return [wire(item) for item in value]
    return value


def registered(run: Program, *, stack: str = "dev") -> list[Resource]:
    """Everything that a run of the program registered."""
    return [resource(one.type, one.name, stack=stack, protect=one.protect, **wire(one.inputs)) for one in run.registrations]


def judge(
    resources: Iterable[Resource],
    said: Levels | None = None,
    *,
    today: datetime.date = TODAY,
    last: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Report]:
    """Every report about the resources, those about the stack at the end."""
    evaluation = Evaluation(RULES, said or levels(), today=today, last_state=lambda _: last or {})
    given = list(resources)
    reports = [report for one in given for report in evaluation.resource(one)]
    return [*reports, *evaluation.stack(given)]
