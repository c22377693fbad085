"""levels.yaml: each mistake is one line, and the levels and parameters in it count."""

import datetime

import pytest

from policy.rules import RULES
from policy.rules.framework.levels import LevelsError, parse
from tests.policy.pack import RULE, levels

GOOD = """\
default: advisory
rules:
  docker-container-wait: mandatory
stacks:
  dev:
    docker-container-wait: disabled
""".replace("docker-container-wait", "docker-container-health-awaited")
EXEMPTION = "exemptions:\n- {stack: dev, rule: docker-volume-protected, resource: '*', reason: because, expires: 2027-01-31}\n"


def test_a_stack_comes_before_a_rule_and_a_rule_before_the_default() -> None:
    parsed = levels(GOOD)
    assert parsed.level("dev", "docker-container-health-awaited") == "disabled"
    assert parsed.level("prod", "docker-container-health-awaited") == "mandatory"
    assert parsed.level("prod", "docker-volume-protected") == "advisory"


def test_an_empty_file_is_as_strict_as_can_be() -> None:
    assert {levels("").level("any", rule.name) for rule in RULES} == {"mandatory"}


def test_parameters_have_defaults() -> None:
    assert levels("").parameters_of(RULE["random-password-long"]) == {"minimum": 22, "public": []}
    parsed = levels("parameters:\n  random-password-long:\n    minimum: 40\n")
    assert parsed.parameters_of(RULE["random-password-long"]) == {"minimum": 40, "public": []}


def test_an_exemption() -> None:
    (exemption,) = levels(EXEMPTION).exemptions
    assert exemption.expires == datetime.date(2027, 1, 31)
    assert exemption.covers("docker-volume-protected", "urn:pulumi:dev::p::t::n")
    assert not exemption.covers("docker-volume-protected", "urn:pulumi:prod::p::t::n")
    assert not exemption.covers("docker-network-internal", "urn:pulumi:dev::p::t::n")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [", "line 1: is not valid YAML; correct the line"),
        ("- a", "the file: is not a mapping; write keys below it"),
        ("levels: {}", "levels: is not a key; known are default, rules, stacks, parameters, exemptions"),
        ("default: strict", "default: is not a level; write one of advisory, mandatory, disabled"),
        ("rules: {docker-volume-protect: advisory}", "rules.docker-volume-protect: is not a rule; write docker-volume-protected"),
        ("rules: {xyz: advisory}", "rules.xyz: is not a rule; COVERAGE.md lists them"),
        (
            "stacks: {dev: {docker-volume-protected: off}}",
            "stacks.dev.docker-volume-protected: is not a level; write one of advisory, mandatory, disabled",
        ),
        ("stacks: {dev: mandatory}", "stacks.dev: is not a mapping; write keys below it"),
        (
            "parameters: {random-password-long: {minimun: 2}}",
            "parameters.random-password-long.minimun: is not a parameter; known are minimum, public",
        ),
        (
            "parameters: {random-password-long: {minimum: many}}",
            "parameters.random-password-long.minimum: has another type; write a whole number",
        ),
        ("exemptions: {}\nrules: 1", "rules: is not a mapping; write keys below it"),
        ("exemptions: {a: 1}", "exemptions: is not a list; write one exemption per item"),
        ("exemptions: [a]", "exemptions[0]: is not a mapping; write keys below it"),
        (EXEMPTION.replace("because", "''"), "exemptions[0].reason: is empty; write why, for the readers of the report"),
        (EXEMPTION.replace("2027-01-31", "soon"), "exemptions[0].expires: is not a date; write it as 2027-01-31"),
        (EXEMPTION.replace("2027-01-31", "2027-01-31 10:00:00"), "exemptions[0].expires: is not a date; write it as 2027-01-31"),
        (
            EXEMPTION.replace(", expires: 2027-01-31", ""),
            "exemptions[0]: expires: write exactly expires, reason, resource, rule, stack",
        ),
        (
            EXEMPTION.replace("docker-volume-protected", "docker-volume"),
            "exemptions[0].rule: is not a rule; write docker-volume-protected",
        ),
    ],
)
def test_a_mistake_is_one_line(text: str, line: str) -> None:
    with pytest.raises(LevelsError) as wrong:
        parse(text, RULES, file="policy/levels.yaml")
    assert wrong.value.lines[0] == f"policy/levels.yaml: {line}"
