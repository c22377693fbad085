"""Every rule by its cases: directly, and as the engine asks, with secret and unknown values."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import empty_pb2

from policy.rules import RULES
from policy.rules.framework.evaluation import BUILT_IN
from policy.rules.framework.rule import STACK, Rule
from tests.policy import analyzer
from tests.policy.analyzer import Pack
from tests.policy.cases import CASES
from tests.policy.pack import PACK, RULE, UNKNOWN, Sent, judge, secret

PASSING = [pytest.param(name, sent, id=f"{name}-{n}") for name, cases in CASES.items() for n, sent in enumerate(cases.passing)]
FAILING = [
    pytest.param(name, sent, path, id=f"{name}-{n}")
    for name, cases in CASES.items()
    for n, (sent, path) in enumerate(cases.failing)
]


@pytest.fixture(scope="module")
def pack() -> Iterator[Pack]:
    with analyzer.running() as running:
        yield running


def reads_inputs(name: str) -> bool:
    """Whether a rule judges a property and not an option, or that there is such a resource at all."""
    return not RULE[name].property.startswith("options.") and name != "random-bytes-unused"


def with_inputs(sent: Sent, inputs: dict[str, Any]) -> Sent:
    return replace(sent, inputs=inputs)


def values_of(sent: Sent) -> set[str]:
    """Texts that a message must not repeat: values of the environment."""
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, str):
            found.add(value.partition("=")[2])
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item)

    walk(sent.inputs.get("envs", []))
    return {value for value in found if len(value) > 3}


def test_every_rule_has_cases() -> None:
    assert set(CASES) == {rule.name for rule in RULES} - {rule.name for rule in BUILT_IN}
    assert {name for name, cases in CASES.items() if len(cases.passing) < 1 or len(cases.failing) < 2} == set()


def test_the_pack_needs_nothing_of_this_project() -> None:
    imported: set[str] = set()
    for file in PACK.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).partition(".")[0])
    # What pulumi_policy brings along, and the pack itself.
    assert imported - sys.stdlib_module_names == {"google", "grpc", "pulumi", "pulumi_policy", "rules", "yaml"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_what_a_rule_says_about_itself(rule: Rule) -> None:
    assert rule.name.split("-")[0] in {"docker", "random", "stack", "policy"}
    assert rule.severity in {"low", "medium", "high", "critical"}
    assert rule.url.startswith("https://")
    assert rule.remediation.endswith(".")
    assert rule.description[0].isupper()
    assert not rule.description.endswith(".")
    assert rule.property
    assert [one.name for one in RULES].count(rule.name) == 1


def test_what_the_engine_is_told_about_the_rules(pack: Pack) -> None:
    info = pack.stub.GetAnalyzerInfo(empty_pb2.Empty())
    assert [policy.name for policy in info.policies] == [rule.name for rule in RULES]
    told = {policy.name: policy for policy in info.policies}["docker-container-unprivileged"]
    assert (told.framework.name, told.framework.version, told.framework.reference) == ("CIS Docker Benchmark", "1.6.0", "5.5")
    assert list(told.tags) == ["cis-docker-1.6.0:5.5", "kics:ae5b6871"]
    assert told.url == RULE["docker-container-unprivileged"].url
    assert told.remediation_steps


@pytest.mark.parametrize(("name", "sent"), PASSING)
def test_a_rule_lets_pass(name: str, sent: list[Sent]) -> None:
    assert [report.message for report in judge(sent) if report.rule.name == name] == []


@pytest.mark.parametrize(("name", "sent", "path"), FAILING)
def test_a_rule_objects(name: str, sent: list[Sent], path: str) -> None:
    found = [report for report in judge(sent) if report.rule.name == name]
    assert [report.level for report in found] == ["mandatory"] * len(found)
    about = "stack prod" if RULE[name].type == STACK else sent[0].name
    assert any(report.message.startswith(f"{about}: {path}: ") for report in found)
    assert all("; write " in report.message for report in found)
    told = "\n".join(report.message for report in found)
    assert [value for one in sent for value in values_of(one) if value in told] == []


@pytest.mark.parametrize(("name", "sent"), PASSING)
def test_a_rule_lets_pass_on_the_wire(pack: Pack, name: str, sent: list[Sent]) -> None:
    assert [one.message for one in pack.judge(sent) if one.rule == name] == []


@pytest.mark.parametrize(("name", "sent", "path"), FAILING)
def test_a_rule_objects_on_the_wire(pack: Pack, name: str, sent: list[Sent], path: str) -> None:
    found = [one for one in pack.judge(sent) if one.rule == name]
    assert any(f": {path}: " in one.message for one in found)
    assert found[0].message.startswith(RULE[name].description)
    assert found[0].level == "mandatory"
    assert found[0].severity == ["low", "medium", "high", "critical"].index(RULE[name].severity) + 1


@pytest.mark.parametrize(
    ("name", "sent", "path"), [case for case in FAILING if case.values[0] != "docker-container-secrets-encrypted"]
)
def test_a_secret_is_judged_and_not_told(pack: Pack, name: str, sent: list[Sent], path: str) -> None:
    hidden = [with_inputs(one, {key: secret(value) for key, value in one.inputs.items()}) for one in sent]
    found = [one.message for one in pack.judge(hidden) if one.rule == name]
    assert any(f": {path}: " in message for message in found)
    assert [value for one in sent for value in values_of(one) if value in "\n".join(found)] == []


def test_a_secret_makes_a_variable_encrypted(pack: Pack) -> None:
    name = "docker-container-secrets-encrypted"
    for sent, _ in CASES[name].failing:
        hidden = [with_inputs(one, {key: secret(value) for key, value in one.inputs.items()}) for one in sent]
        assert [one for one in pack.judge(hidden) if one.rule == name] == []


@pytest.mark.parametrize(("name", "sent", "path"), [case for case in FAILING if reads_inputs(str(case.values[0]))])
def test_an_unknown_value_is_told_and_refuses_nothing(pack: Pack, name: str, sent: list[Sent], path: str) -> None:
    keys = [key.partition("[")[0].partition(".")[0] for key in RULE[name].property.split(", ")]
    dark = [with_inputs(one, {**one.inputs, **dict.fromkeys(keys, UNKNOWN)}) for one in sent]
    said = pack.judge(dark)
    assert [one for one in said if one.rule == name] == []
    (told,) = [one for one in said if one.rule == "policy-value-known" and name in one.message]
    assert told.level == "advisory"
    assert any(key in told.message for key in keys)
