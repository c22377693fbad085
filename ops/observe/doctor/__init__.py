"""``ops doctor``: what is wrong with a stack and its host, one line a finding, each with one fix. It never changes anything.

A check is a pure function of an observation, so each is tested without a machine that is ill.
Not here: whether Skyvern does its work (ops smoke), and what runs at the moment (ops status).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from ops.clients import terminal
from ops.observe.doctor import edge_checks, machine_checks, pulumi_checks, stack_checks
from ops.observe.doctor.findings import Finding
from ops.observe.doctor.observation import Observation, observe
from ops.stack.stack import Stack

CHECKS: tuple[Callable[[Observation], Iterator[Finding]], ...] = (
    *pulumi_checks.CHECKS,
    *machine_checks.CHECKS,
    *stack_checks.CHECKS,
    *edge_checks.CHECKS,
)


def examine(seen: Observation) -> list[Finding]:
    """All findings, errors first, otherwise in the order in which things depend on each other."""
    found = [finding for check in CHECKS for finding in check(seen)]
    return sorted(found, key=lambda finding: finding.level != "error")


def exit_code(found: Sequence[Finding]) -> int:
    """1 when there is an error; warnings do not fail."""
    return 1 if any(finding.level == "error" for finding in found) else 0


def render(seen: Observation, found: Sequence[Finding]) -> str:
    """A table of the findings, or one line that there are none."""
    if not found:
        return f"stack {seen.stack}: nothing is wrong ({len(CHECKS)} checks)"
    rows = [(one.level, one.check, one.subject, one.problem, one.fix) for one in found]
    text = terminal.table(("level", "check", "what", "is wrong", "fix"), rows)
    if seen.settings is None:
        text += f"\n\nDocker was not checked: {seen.stack.file_name} has to be right first."
    elif seen.host is None:
        text += "\n\nThe containers were not checked: the daemon has to answer first."
    return text


def main(stack: Stack, *, json_wanted: bool = False) -> int:
    """Looks, prints, and returns 1 when there is an error."""
    seen = observe(stack)
    found = examine(seen)
    if json_wanted:
        print(json.dumps({"stack": stack.name, "checks": len(CHECKS), "findings": [asdict(one) for one in found]}, indent=2))
    else:
        print(render(seen, found))
    return exit_code(found)
