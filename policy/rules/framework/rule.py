"""A rule: one property, a pure check, and the texts that a person needs."""

import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal, Required, TypedDict, Unpack

from .values import Inputs

Severity = Literal["low", "medium", "high", "critical"]
# In place of a resource's type: the rule reads the whole stack.
STACK = "pulumi:stack"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource as it is registered. inputs: after the provider's defaults. protect: the resource option."""

    urn: str
    type: str
    inputs: Inputs
    protect: bool = False

    @property
    def name(self) -> str:
        """The logical name."""
        return self.urn.rpartition("::")[2]

    @property
    def stack(self) -> str:
        """The stack's name."""
        return stack_of(self.urn)

    def finding(self, path: str, *, why: str, write: str, advisory: bool = False) -> "Finding":
        """A finding of a rule over the whole stack about this resource, whose name its paths begin with there."""
        path = path.removeprefix(f"{self.name}.")
        return Finding(path=f"{self.name}: {path}", why=why, write=write, urn=self.urn, advisory=advisory)


def stack_of(urn: str) -> str:
    """The stack's name in a URN, which every request of the engine has: ``urn:pulumi:STACK::PROJECT::TYPE::NAME``."""
    return urn.removeprefix("urn:pulumi:").partition("::")[0]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Everything that a stack registers.

    today: by the clock of the machine that plans. created: URN -> the day on which it was made, by the last state; None if it is
    not in there yet.
    """

    name: str
    resources: tuple[Resource, ...]
    today: datetime.date
    created: Callable[[str], datetime.date | None]

    def of_type(self, type_: str) -> list[Resource]:
        """Resources of a type, by name."""
        return sorted((resource for resource in self.resources if resource.type == type_), key=lambda resource: resource.name)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong in one place.

    path: property, never with a value in it. why: a clause. write: the replacement. urn: for a rule of the stack. advisory:
    reported, also where the rule refuses.
    """

    path: str
    why: str
    write: str
    urn: str = ""
    advisory: bool = False

    def message(self, name: str) -> str:
        """The line that people read; ``name`` is the resource's."""
        return f"{name}: {self.path}: {self.why}; write {self.write}"


Findings = Iterator[Finding]
Parameters = Mapping[str, Any]
Check = Callable[[Any, Parameters], Findings]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule.

    name: ``<provider>-<resource>-<what holds>``. type: of the resources it reads, or STACK. also: other types that have the same
    property. property: the property it judges. cis: control ids of the CIS Docker Benchmark 1.6.0. kics: first eight digits of
    the KICS query's id. prowler: checks of Prowler that ask for the same. url: why, in detail.
    parameters: names and defaults of what levels.yaml may set. check: yields findings; gets a Resource or a Stack, and the
    parameters.
    """

    name: str
    type: str
    property: str
    description: str
    severity: Severity
    remediation: str
    url: str
    check: Check = field(repr=False)
    cis: tuple[str, ...] = ()
    kics: tuple[str, ...] = ()
    prowler: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+){2,}", self.name):
            raise ValueError(f"{self.name}: write a rule's name as provider-resource-what-holds")


class About(TypedDict, total=False):
    """The fields of a rule that are the same for every way of declaring it; ``Rule`` describes them."""

    description: Required[str]
    severity: Required[Severity]
    remediation: Required[str]
    url: Required[str]
    cis: tuple[str, ...]
    kics: tuple[str, ...]
    prowler: tuple[str, ...]
    also: tuple[str, ...]
    parameters: Mapping[str, Any]


def rule(type_: str, name: str, property_: str, **about: Unpack[About]) -> Callable[[Check], Rule]:
    """Makes a rule of the check below it. For an expectation of one property, ``property_rule`` does without a check."""
    return lambda check: Rule(name=name, type=type_, property=property_, check=check, **about)


stack_rule = partial(rule, STACK)


def rules_of(module: Mapping[str, Any]) -> list[Rule]:
    """The rules that a module's namespace holds, in their order there."""
    return [value for value in module.values() if isinstance(value, Rule)]


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a glob of the list fits the name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
