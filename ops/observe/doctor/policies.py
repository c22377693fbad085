"""The rules of the policy pack over what is deployed, by ``pulumi policy analyze``: no program runs and no provider is asked.

An update is judged when it is made. Rules that came later, and what was deployed past them, show here.
Not here: the rules of a preview, with all that a report says of them (ops/preview/events.py).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ops.clients import process
from ops.errors import UserError
from ops.paths import ROOT
from ops.redaction import Redactor
from ops.stack import policy_events
from ops.stack.stack import Stack

PACK = ROOT / "policy"
# The first that has `pulumi policy analyze` for certain: it came in 2026 (pulumi/pulumi#22250), and this one was tried.
MINIMUM_CLI = (3, 256, 0)
# The pack is a program, and the engine starts it.
SECONDS = 180


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A rule that something deployed breaks. message: the resource, the reason, and after the last semicolon what to write."""

    rule: str
    message: str
    mandatory: bool


@dataclass(frozen=True, kw_only=True)
class Policies:
    """What the rules say of the state. error: why they could not be asked, else ""."""

    violations: Sequence[Violation] = ()
    error: str = ""


def observe_policies(stack: Stack, variables: Mapping[str, str]) -> Policies:
    """Asks the rules of this checkout about a stack that was deployed. variables: of Pulumi's environment."""
    command = stack.command("policy", "analyze", "--policy-pack", str(PACK), "--json", "--non-interactive")
    try:
        printed = process.capture(command, cwd=stack.root, env=variables, timeout_seconds=SECONDS, any_code=True)
        return Policies(violations=parse(printed))
    except UserError as failed:
        return Policies(error=str(failed))


@process.reads("pulumi")
def parse(printed: bytes) -> list[Violation]:
    """Violations from the engine's events, one JSON object a line; ValueError where the rules did not run to their end."""
    events = [json.loads(line) for line in printed.splitlines() if line.startswith(b"{")]
    if not any("summaryEvent" in event for event in events):
        raise ValueError("no end")
    # The engine reports what a rule says of the whole stack once for each time it asks.
    return sorted(set(_violations(events)), key=lambda one: (not one.mandatory, one.rule, one.message))


def _violations(events: Sequence[Mapping[str, Mapping[str, str]]]) -> Iterator[Violation]:
    for event in events:
        if (result := event.get("policyEvent")) is None or result["policyName"] == policy_events.UNKNOWN_RULE:
            continue
        message = policy_events.message(result)
        if not policy_events.EXEMPTED.fullmatch(message):
            yield Violation(
                rule=result["policyName"],
                # Rules print no value; what a resource is called is whoever's who named it.
                message=Redactor.of([]).everything(" ".join(message.split())),
                mandatory=result["enforcementLevel"] == "mandatory",
            )
