"""``ops doctor``: faults of a stack and its host, one line each, with one fix. It never changes anything.

A check is a pure function of an observation, so each is tested without a faulty machine.
Not here: whether Skyvern does its work (ops smoke), and what is running (ops status).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from ops.clients import terminal
from ops.observe.doctor import cluster_checks, edge_checks, machine_checks, pulumi_checks, stack_checks
from ops.observe.doctor.findings import Finding
from ops.observe.doctor.observation import Observation, observe
from ops.stack.stack import Stack

# Each function ``check_*`` of these modules, in its order there.
CHECKS: tuple[Callable[[Observation], Iterator[Finding]], ...] = tuple(
    function
    for module in (pulumi_checks, machine_checks, cluster_checks, stack_checks, edge_checks)
    for name, function in vars(module).items()
    if name.startswith("check_")
)


def examine(observation: Observation) -> list[Finding]:
    """All findings: errors first, then in the order in which things depend on each other."""
    findings = [finding for check in CHECKS for finding in check(observation)]
    return sorted(findings, key=lambda finding: finding.level != "error")


def exit_code(findings: Sequence[Finding]) -> int:
    """1 for an error, 0 for none; warnings do not fail."""
    return 1 if any(finding.level == "error" for finding in findings) else 0


def render(observation: Observation, findings: Sequence[Finding]) -> str:
    """A table of the findings, or one line if there are none."""
    if not findings:
        return f"stack {observation.stack}: nothing is wrong ({len(CHECKS)} checks)"
    rows = [(finding.level, finding.check, finding.subject, finding.problem, finding.fix) for finding in findings]
    text = terminal.table(("level", "check", "what", "is wrong", "fix"), rows)
    if observation.settings is None:
        text += f"\n\nDocker was not checked: {observation.stack.file_name} has to be corrected first."
    elif observation.host is None:
        text += "\n\nThe containers were not checked: the daemon has to answer first."
    return text


def main(stack: Stack, *, json_wanted: bool = False) -> int:
    """Prints the findings; returns 1 if one is an error."""
    observation = observe(stack)
    findings = examine(observation)
    if json_wanted:
        document = {"stack": stack.name, "checks": len(CHECKS), "findings": [asdict(finding) for finding in findings]}
        print(json.dumps(document, indent=2))
    else:
        print(render(observation, findings))
    return exit_code(findings)
