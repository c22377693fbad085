"""Rules that expect something of one property: declared, without a check to write.

Not here: rules that compare properties, that read a limit from levels.yaml, or that are about the whole stack; each of them is a
function under ``rule``.
"""

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, Unpack

from .rule import About, Finding, Findings, Parameters, Resource, Rule, matches

SECRETS_URL = "https://www.pulumi.com/docs/iac/concepts/secrets/"

# Yields path and value of everything that a rule judges.
Reader = Callable[[Resource], Iterator[tuple[str, Any]]]


@dataclass(frozen=True)
class Expect:
    """An expectation. holds: whether a value is as it has to be; a missing value is None. why, write: as in a Finding."""

    holds: Callable[[Any], bool]
    _: KW_ONLY
    why: str
    write: str


def property_rule(
    type_: str,
    name: str,
    property_: str,
    expect: Expect,
    *,
    reads: str | Reader = "",
    unless: str = "",
    **about: Unpack[About],
) -> Rule:
    """A rule that expects something of each value of a property.

    reads: where the values are, if that is deeper than the property: a path for ``Inputs.at``, or a function.
    unless: the parameter in levels.yaml with globs over the names of resources that are excepted.
    """
    read = reads or property_
    if unless:
        about["parameters"] = {unless: []}

    def check(resource: Resource, parameters: Parameters) -> Findings:
        for path, value in read(resource) if callable(read) else resource.inputs.at(read):
            if not expect.holds(value) and not matches(resource.name, parameters.get(unless, [])):
                yield Finding(path=path, why=expect.why, write=expect.write)

    return Rule(name=name, type=type_, property=property_, check=check, **about)


def encrypted_rule(type_: str, name: str, property_: str, *, description: str, remediation: str, reads: str = "") -> Rule:
    """A rule that a property, if it is set, is a secret of Pulumi. reads: its path, if that is deeper than the property."""

    def in_plain_text(resource: Resource) -> Iterator[tuple[str, Any]]:
        return (place for place in resource.inputs.at(reads or property_) if not resource.inputs.is_secret(place[0]))

    return property_rule(
        type_,
        name,
        property_,
        Expect(unset, why="it is in plain text in the state", write="pulumi.Output.secret(...)"),
        reads=in_plain_text,
        description=description,
        severity="critical",
        remediation=remediation,
        url=SECRETS_URL,
    )


def unset(value: Any) -> bool:
    """Missing, false, zero or empty."""
    return not value


def on(value: Any) -> bool:
    """True, and written: the provider's default is off."""
    return value is True


def not_off(value: Any) -> bool:
    """True or missing: the provider's default is on."""
    return value is not False


def one_of(*values: Any) -> Callable[[Any], bool]:
    """One of these; None stands for a missing value."""
    return lambda value: value in values


def none_of(*values: Any) -> Callable[[Any], bool]:
    """Anything but these; None stands for a missing value."""
    return lambda value: value not in values
