"""What the rules say about one preview or update: violations by level, exemptions, and what could not be checked."""

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
_README = "https://www.pulumi.com/docs/insights/policy/"


@stack_rule(
    "policy-exemption-current",
    "exemptions",
    description="An exemption is used, and has a day on which it ends that has not passed",
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
    remediation="Nothing: a value that is known after the update only is checked by the update itself.",
    url=_README,
)
def value_known(subject: Any, parameters: Mapping[str, Any]) -> Any:
    """Evaluation reports it, as an advice: a rule that did not run must not look like one that found nothing."""
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
    """Findings of one rule, and the paths of the values that it could not read.

    An unknown value ends a check. When it is in an element of a list, the check runs again without that element, so that it
    hides no other.
    """
    unread: list[str] = []
    skipped: frozenset[str] = frozenset()
    while True:
        found: list[Finding] = []
        try:
            found.extend(rule.check(_skipping(subject, skipped), parameters))
        except Unread as unknown:
            if unknown.path not in unread:
                unread.append(unknown.path)
            if unknown.element is not None and unknown.element not in skipped:
                skipped |= {unknown.element}
                continue
        return found, unread


def _skipping(subject: Resource | Stack, elements: frozenset[str]) -> Resource | Stack:
    if not elements:
        return subject
    if isinstance(subject, Resource):
        return replace(subject, inputs=subject.inputs.skipping(elements))
    return replace(subject, resources=tuple(replace(one, inputs=one.inputs.skipping(elements)) for one in subject.resources))


class Evaluation:
    """All rules over one preview or update. Pure but for what it is given.

    today: decides which exemptions have expired. last_state: what was deployed last; asked once, and only when a rule met an
    unknown value.
    """

    def __init__(self, rules: Sequence[Rule], levels: Levels, *, today: datetime.date, last_state: LastState) -> None:
        self.levels = levels
        self.today = today
        self.used: set[Exemption] = set()
        self.seen: dict[str, Resource] = {}
        self.configured: dict[str, Level] = {}
        self._last_state = last_state
        self._last: Mapping[str, Mapping[str, Any]] | None = None
        self._lock = threading.Lock()
        self._of_type: dict[str, list[Rule]] = {}
        for one in rules:
            for type_ in (one.type, *one.also):
                self._of_type.setdefault(type_, []).append(one)

    def level(self, stack: str, rule: Rule) -> Level:
        """The level of a rule: of ``--policy-pack-config`` where that says another than the pack, else of levels.yaml."""
        return self.configured.get(rule.name) or self.levels.level(stack, rule.name)

    def resource(self, resource: Resource) -> list[Report]:
        """Reports about one resource."""
        self.seen[resource.urn] = resource
        return self._reports(resource, resource.stack, resource.urn, resource.name)

    def stack(self, resources: Iterable[Resource]) -> list[Report]:
        """Reports about the stack as a whole; to be asked last.

        resources: with what was planned or deployed, where ``resource`` has not seen their inputs (``--target``).
        """
        given = list(resources)
        # A destroy registers nothing, and there is nothing to say about what goes away.
        if not self.seen or not given:
            return []
        name = stack_of(given[0].urn)
        known = [self.seen.get(one.urn, one) for one in given]
        stack = Stack(name=name, resources=tuple(replace(one, inputs=one.inputs.under(one.name)) for one in known))
        return [*self._reports(stack, name, "", f"stack {name}"), *self._stale_exemptions(stack)]

    def _reports(self, subject: Resource | Stack, stack: str, urn: str, name: str) -> list[Report]:
        reports = []
        unchecked: dict[str, list[str]] = {}
        for one in self._of_type.get(subject.type if isinstance(subject, Resource) else STACK, []):
            level = self.level(stack, one)
            if level == "disabled":
                continue
            parameters = self.levels.parameters_of(one)
            found, unread = run(one, subject, parameters)
            reports += [self._judged(one, level, finding, urn or finding.urn, name) for finding in found]
            if not unread:
                continue
            # What was deployed last stands in for what is not known yet: if that breaks the rule, the plan fails now.
            filled, still = run(one, self._filled(subject, stack), parameters)
            old = [finding for finding in filled if finding not in found]
            reports += [
                self._judged(
                    one, level, replace(finding, why=f"{finding.why} (as it was last deployed)"), urn or finding.urn, name
                )
                for finding in old
            ]
            if still:
                unchecked.setdefault(", ".join(still), []).append(one.name)
        if self.level(stack, value_known) == "disabled":
            return reports
        for paths, names in unchecked.items():
            text = f"{name}: {paths}: known after the update only, so not checked now, but then; by {', '.join(names)}"
            reports.append(Report(rule=value_known, level="advisory", message=text, urn=urn))
        return reports

    def _judged(self, rule: Rule, level: Level, finding: Finding, urn: str, name: str) -> Report:
        message = finding.message(name)
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
            covered = [one.urn for one in stack.resources if exemption.covers(exemption.rule, one.urn)]
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
        return replace(subject, resources=tuple(filled(one) for one in subject.resources))
