"""Resources as the engine sends them to the pack, and its reports about them."""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from policy.rules import RULES
from policy.rules.framework.evaluation import Evaluation, Report
from policy.rules.framework.levels import Levels, parse
from policy.rules.framework.rule import Resource
from policy.rules.framework.values import Inputs, decode
from tests.support.program import Program, Secret

PACK = Path(__file__).resolve().parents[2] / "policy"
RULE = {rule.name: rule for rule in RULES}
TODAY = datetime.date(2026, 11, 22)
SIGNATURE = "4dabf18193072939515e22adb298388d"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


@dataclass(frozen=True)
class Sent:
    """A resource as it is on the wire; ``resource`` is the same in a stack."""

    type: str
    name: str
    inputs: Mapping[str, Any]
    protect: bool = False

    def urn(self, stack: str) -> str:
        """Its URN in a stack."""
        return f"urn:pulumi:{stack}::skyvern::{self.type}::{self.name}"

    def resource(self, stack: str) -> Resource:
        """The resource as the rules read it."""
        secrets: set[str] = set()
        values = decode(dict(self.inputs), secrets=secrets)
        inputs = Inputs(values, secrets=frozenset(secrets))
        return Resource(urn=self.urn(stack), type=self.type, inputs=inputs, protect=self.protect)


def secret(value: Any) -> dict[str, Any]:
    """A secret as it is on the wire."""
    return {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "value": value}


@cache
def levels(text: str | None = None) -> Levels:
    """The committed levels, or those of a text."""
    return parse((PACK / "levels.yaml").read_text() if text is None else text, RULES)


def wire(value: Any) -> Any:
    """What tests/support/program.py recorded, with its secrets marked as on the wire."""
    match value:
        case Secret():
            return secret(wire(value.value))
        case dict():
            return {key: wire(item) for key, item in value.items()}
        case list():
            return [wire(item) for item in value]
    return value


def registered(run: Program) -> list[Sent]:
    """Everything that a run of the program registered."""
    return [
        Sent(registration.type, registration.name, wire(registration.inputs), registration.protect)
        for registration in run.registrations
    ]


def judge(
    resources: Iterable[Sent],
    given: Levels | None = None,
    *,
    stack: str = "prod",
    today: datetime.date = TODAY,
    last: Mapping[str, Mapping[str, Any]] | None = None,
    created: Mapping[str, datetime.date] | None = None,
) -> list[Report]:
    """Every report about the resources of one stack, those about the stack itself at the end."""
    evaluation = Evaluation(
        RULES, given or levels(), today=today, last_state=lambda _: last or {}, created=lambda _: created or {}
    )
    registered = [sent.resource(stack) for sent in resources]
    reports = [report for resource in registered for report in evaluation.resource(resource)]
    return [*reports, *evaluation.stack(registered)]


def broken(reports: Iterable[Report]) -> list[str]:
    """Names of the rules that refuse, sorted, each once."""
    return sorted({report.rule.name for report in reports if report.level == "mandatory"})
