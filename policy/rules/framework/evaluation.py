"""The rules' reports about one preview or update: violations by level, exemptions, and what could not be checked."""

import datetime
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .levels import Exemption, Level, Levels
from .rule import STACK, Finding, Resource, Rule, Stack, stack_of, stack_rule
from .values import Unread

# URN of any resource of the stack -> inputs of all of its resources, by URN.
LastState = Callable[[str], Mapping[str, Mapping[str, Any]]]
# The same -> the day on which each was made.
Created = Callable[[str], Mapping[str, datetime.date]]
_README = "https://www.pulumi.com/docs/insights/policy/"


@stack_rule(
    "policy-exemption-current",
    "exemptions",
    description="An exemption is used, and its last day has not passed",
    severity="high",
    remediation="Fix what was exempted and remove the exemption from levels.yaml.",
    url=_README,
)
def exemption_current(subject: Any, parameters: Mapping[str, Any]) -> Any:
    """Evaluation.stack reports it: only there is it known what an exemption was used for."""
    return iter(())


@stack_rule(
    "policy-value-known",
    "inputs",
    description="Every rule could read what it judges",
    severity="low",
    remediation="Nothing: a value that is known only after the update is checked by the update itself.",
    url=_README,
)
def value_known(subject: Any, parameters: Mapping[str, Any]) -> Any:
    """Evaluation reports it, at level advisory: a rule that did not run must not look like a rule without a finding."""
    return iter(())


BUILT_IN = (exemption_current, value_known)


@dataclass(frozen=True, kw_only=True)
class Report:
    """One line for the person who deploys. urn: of the resource it is about; "" is the stack."""

    rule: Rule
    level: Level
    message: str
    urn: str = ""


def run(rule: Rule, subject: Resource | Stack, parameters: Mapping[str, Any]) -> tuple[list[Finding], list[str]]:
    """Findings of a rule, and the paths of the values that it could not read.

    An unknown value ends a check. If it is in an element of a list, the check runs again without that element, so the other
    elements are judged.
    """
    unread: list[str] = []
    skipped: frozenset[str] = frozenset()
    while True:
        findings: list[Finding] = []
        try:
            findings.extend(rule.check(_skipping(subject, skipped), parameters))
        except Unread as unknown:
            if unknown.path not in unread:
                unread.append(unknown.path)
            if unknown.element is not None and unknown.element not in skipped:
                skipped |= {unknown.element}
                continue
        return findings, unread


def _skipping(subject: Resource | Stack, elements: frozenset[str]) -> Resource | Stack:
    if not elements:
        return subject
    if isinstance(subject, Resource):
        return replace(subject, inputs=subject.inputs.skipping(elements))
    resources = (replace(resource, inputs=resource.inputs.skipping(elements)) for resource in subject.resources)
    return replace(subject, resources=tuple(resources))


class Evaluation:
    """All rules over one preview or update. Pure but for what it is given.

    today: decides which exemptions have expired. last_state, created: of the last deployment; the first is asked once, and only
    when a rule met an unknown value, the second by a rule that asks.
    """

    def __init__(
        self, rules: Sequence[Rule], levels: Levels, *, today: datetime.date, last_state: LastState, created: Created
    ) -> None:
        self.levels = levels
        self.today = today
        self.used: set[Exemption] = set()
        self.seen: dict[str, Resource] = {}
        self.configured: dict[str, Level] = {}
        self._last_state = last_state
        self._created = created
        self._last: Mapping[str, Mapping[str, Any]] | None = None
        self._lock = threading.Lock()
        self._of_type: dict[str, list[Rule]] = {}
        for rule in rules:
            for type_ in (rule.type, *rule.also):
                self._of_type.setdefault(type_, []).append(rule)

    def level(self, stack: str, rule: Rule) -> Level:
        """The level of a rule: of ``--policy-pack-config`` if that differs from the pack's, else of levels.yaml."""
        return self.configured.get(rule.name) or self.levels.level(stack, rule.name)

    def resource(self, resource: Resource) -> list[Report]:
        """Reports about one resource."""
        self.seen[resource.urn] = resource
        return self._reports(resource, resource.stack, resource.urn, resource.name)

    def stack(self, resources: Iterable[Resource]) -> list[Report]:
        """Reports about the stack as a whole; to be asked last.

        resources: with their planned or deployed inputs, if ``resource`` has not seen them (``--target``).
        """
        given = list(resources)
        # A destroy registers nothing, and resources that go away are not judged.
        if not self.seen or not given:
            return []
        name = stack_of(given[0].urn)
        known = [self.seen.get(resource.urn, resource) for resource in given]
        resources = tuple(replace(resource, inputs=resource.inputs.under(resource.name)) for resource in known)
        stack = Stack(name=name, resources=resources, today=self.today, created=lambda urn: self._created(urn).get(urn))
        return [*self._reports(stack, name, "", f"stack {name}"), *self._stale_exemptions(stack)]

    def _reports(self, subject: Resource | Stack, stack: str, urn: str, name: str) -> list[Report]:
        reports = []
        unchecked: dict[str, list[str]] = {}
        for rule in self._of_type.get(subject.type if isinstance(subject, Resource) else STACK, []):
            level = self.level(stack, rule)
            if level == "disabled":
                continue
            parameters = self.levels.parameters_of(rule)
            findings, unread = run(rule, subject, parameters)
            reports += [self._judged(rule, level, finding, urn or finding.urn, name) for finding in findings]
            if not unread:
                continue
            # Unknown values are replaced by those deployed last, so a violation is caught at preview time.
            filled, still = run(rule, self._filled(subject, stack), parameters)
            old = [
                replace(finding, why=f"{finding.why} (as it was last deployed)") for finding in filled if finding not in findings
            ]
            reports += [self._judged(rule, level, finding, urn or finding.urn, name) for finding in old]
            if still:
                unchecked.setdefault(", ".join(still), []).append(rule.name)
        if self.level(stack, value_known) == "disabled":
            return reports
        for paths, names in unchecked.items():
            text = f"{name}: {paths}: known after the update only, so not checked now, but then; by {', '.join(names)}"
            reports.append(Report(rule=value_known, level="advisory", message=text, urn=urn))
        return reports

    def _judged(self, rule: Rule, level: Level, finding: Finding, urn: str, name: str) -> Report:
        message = finding.message(name)
        level = "advisory" if finding.advisory else level
        for exemption in self.levels.exemptions:
            if exemption.covers(rule.name, urn):
                self.used.add(exemption)
                if self.today <= exemption.expires:
                    message = f"exempted until {exemption.expires} ({exemption.reason}): {message}"
                    return Report(rule=rule, level="advisory", message=message, urn=urn)
        return Report(rule=rule, level=level, message=message, urn=urn)

    def _stale_exemptions(self, stack: Stack) -> list[Report]:
        reports = []
        for exemption in self.levels.exemptions:
            if exemption.stack != stack.name:
                continue
            covered = [resource.urn for resource in stack.resources if exemption.covers(exemption.rule, resource.urn)]
            if self.today > exemption.expires:
                problem = f"expired on {exemption.expires}; fix what it covered and remove it"
            elif exemption not in self.used and all(urn in self.seen for urn in covered):
                problem = "covers nothing that breaks the rule; remove it"
            else:
                continue
            reports.append(
                Report(
                    rule=exemption_current,
                    level=self.level(stack.name, exemption_current),
                    message=f"levels.yaml: exemption of {exemption}: {problem}",
                )
            )
        return reports

    def _filled(self, subject: Resource | Stack, stack: str) -> Resource | Stack:
        with self._lock:
            if self._last is None:
                urn = subject.urn if isinstance(subject, Resource) else subject.resources[0].urn
                self._last = self._last_state(urn)
        last = self._last

        def filled(resource: Resource) -> Resource:
            return replace(resource, inputs=resource.inputs.filled(last.get(resource.urn)))

        if isinstance(subject, Resource):
            return filled(subject)
        return replace(subject, resources=tuple(filled(resource) for resource in subject.resources))
