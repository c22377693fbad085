"""Every rule by its cases: directly, and as the engine asks, with secret and unknown values."""

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import empty_pb2

from policy.rules import RULES
from policy.rules.cloudflare import ACCESS_APPLICATION, ACCESS_POLICY
from policy.rules.containers import CONTAINER, SERVICE
from policy.rules.framework.evaluation import BUILT_IN
from policy.rules.framework.rule import STACK, Rule
from policy.rules.vercel import PROJECT, VARIABLE, VARIABLES
from tests.policy import analyzer, automation_cases, cases, edge_cases
from tests.policy.analyzer import Pack
from tests.policy.pack import PACK, RULE, UNKNOWN, Sent, judge, levels, secret

CASES = cases.CASES | edge_cases.CASES | automation_cases.CASES
# What they judge is whether a value was sent as a secret.
OF_SECRECY = {name for name, rule in RULE.items() if name.endswith("-encrypted") and rule.property not in {"host", "baseUrl"}}
PASSING = [pytest.param(name, sent, id=f"{name}-{n}") for name, those in CASES.items() for n, sent in enumerate(those.passing)]
FAILING = [
    pytest.param(name, sent, path, id=f"{name}-{n}")
    for name, those in CASES.items()
    for n, (sent, path) in enumerate(those.failing)
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


def hidden(sent: Sent) -> Sent:
    """The resource with every property a secret."""
    return with_inputs(sent, {key: secret(value) for key, value in sent.inputs.items()})


_CONFIDENTIAL = {"apiKey", "apiToken", "command", "environment", "envs", "password", "tunnelSecret"}


def values_of(sent: Sent) -> set[str]:
    """Texts that a message must not repeat: values of variables and keys, and arguments."""
    texts: set[str] = set()

    def walk(value: Any, confidential: bool) -> None:
        match value:
            case str() if confidential:
                texts.update({value, value.partition("=")[2]})
            case dict():
                for key, item in value.items():
                    walk(item, confidential or key in _CONFIDENTIAL)
            case list():
                for item in value:
                    walk(item, confidential)

    walk(sent.inputs, False)
    if sent.type == VARIABLE:
        walk(sent.inputs.get("value"), True)
    return {value for value in texts if len(value) > 3}


def test_every_rule_has_cases() -> None:
    assert set(CASES) == {rule.name for rule in RULES} - {rule.name for rule in BUILT_IN}
    assert {name for name, those in CASES.items() if len(those.passing) < 1 or len(those.failing) < 2} == set()


def test_the_pack_needs_nothing_of_this_project() -> None:
    imported: set[str] = set()
    # setup.py builds the wheel and is not in it.
    for file in {*PACK.rglob("*.py")} - {PACK / "setup.py"}:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).partition(".")[0])
    # What pulumi_policy brings along, and the pack itself.
    assert imported - sys.stdlib_module_names == {"google", "grpc", "pulumi", "pulumi_policy", "rules", "yaml"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_texts_of_a_rule(rule: Rule) -> None:
    assert rule.name.split("-")[0] in {"cloudflare", "docker", "policy", "random", "skyvern", "stack", "vercel"}
    assert rule.severity in {"low", "medium", "high", "critical"}
    assert rule.url.startswith("https://")
    assert rule.remediation.endswith(".")
    assert rule.description[0].isupper()
    assert not rule.description.endswith(".")
    assert rule.property
    assert [each.name for each in RULES].count(rule.name) == 1


def test_the_engine_gets_the_texts_of_the_rules(pack: Pack) -> None:
    info = pack.stub.GetAnalyzerInfo(empty_pb2.Empty())
    assert [policy.name for policy in info.policies] == [rule.name for rule in RULES]
    unprivileged = {policy.name: policy for policy in info.policies}["docker-container-unprivileged"]
    framework = unprivileged.framework
    assert (framework.name, framework.version, framework.reference) == ("CIS Docker Benchmark", "1.6.0", "5.5")
    assert list(unprivileged.tags) == ["cis-docker-1.6.0:5.5", "kics:ae5b6871"]
    assert unprivileged.url == RULE["docker-container-unprivileged"].url
    assert unprivileged.remediation_steps


@pytest.mark.parametrize(("name", "sent"), PASSING)
def test_a_rule_lets_pass(name: str, sent: list[Sent]) -> None:
    assert [report.message for report in judge(sent) if report.rule.name == name] == []


@pytest.mark.parametrize(("name", "sent", "path"), FAILING)
def test_a_rule_objects(name: str, sent: list[Sent], path: str) -> None:
    reports = [report for report in judge(sent) if report.rule.name == name]
    assert {report.level for report in reports} == {levels().level("prod", name)}
    about = "stack prod" if RULE[name].type == STACK else sent[0].name
    assert any(report.message.startswith(f"{about}: {path}: ") for report in reports)
    assert all("; write " in report.message for report in reports)
    messages = "\n".join(report.message for report in reports)
    assert [value for resource in sent for value in values_of(resource) if value in messages] == []


def test_an_option_with_its_secret_says_nothing_of_the_next_argument() -> None:
    reports = judge([cases.container(command=["--password=correct-horse", "run"])])
    (report,) = [report for report in reports if report.rule.name == "docker-container-arguments-public"]
    assert report.message.startswith("one: command[0]: ")


@pytest.mark.parametrize(("name", "sent"), PASSING)
def test_a_rule_lets_pass_on_the_wire(pack: Pack, name: str, sent: list[Sent]) -> None:
    assert [diagnostic.message for diagnostic in pack.judge(sent) if diagnostic.rule == name] == []


@pytest.mark.parametrize(("name", "sent", "path"), FAILING)
def test_a_rule_objects_on_the_wire(pack: Pack, name: str, sent: list[Sent], path: str) -> None:
    diagnostics = [diagnostic for diagnostic in pack.judge(sent) if diagnostic.rule == name]
    assert any(f": {path}: " in diagnostic.message for diagnostic in diagnostics)
    assert diagnostics[0].message.startswith(RULE[name].description)
    assert diagnostics[0].level == levels().level("prod", name)
    assert diagnostics[0].severity == ["low", "medium", "high", "critical"].index(RULE[name].severity) + 1


@pytest.mark.parametrize(("name", "sent", "path"), [case for case in FAILING if case.values[0] not in OF_SECRECY])
def test_a_secret_is_judged_and_not_repeated(pack: Pack, name: str, sent: list[Sent], path: str) -> None:
    diagnostics = pack.judge([hidden(resource) for resource in sent])
    messages = [diagnostic.message for diagnostic in diagnostics if diagnostic.rule == name]
    assert any(f": {path}: " in message for message in messages)
    assert [value for resource in sent for value in values_of(resource) if value in "\n".join(messages)] == []


@pytest.mark.parametrize("name", sorted(OF_SECRECY))
def test_a_secret_makes_a_value_encrypted(pack: Pack, name: str) -> None:
    for sent, _ in CASES[name].failing:
        diagnostics = pack.judge([hidden(resource) for resource in sent])
        assert [diagnostic for diagnostic in diagnostics if diagnostic.rule == name] == []


def within(sent: Sent, type_: str) -> tuple[Sent, str]:
    """A failing case as a resource of another type, and the beginning of its path there."""
    lists = {VARIABLES: "variables", PROJECT: "environments"}
    if type_ == SERVICE:
        return cases.as_service(sent), ""
    if type_ == ACCESS_APPLICATION and sent.type == ACCESS_POLICY:
        return Sent(type_, sent.name, {"policies": [dict(sent.inputs)]}), "policies[0]."
    if type_ in lists:
        return Sent(type_, sent.name, {lists[type_]: [dict(sent.inputs)]}), f"{lists[type_]}[0]."
    return Sent(type_, sent.name, sent.inputs), ""


@pytest.mark.parametrize(
    ("name", "type_", "sent", "path"),
    [
        pytest.param(name, type_, sent[0], path, id=f"{name}-{type_.rpartition(':')[2]}-{n}")
        for name, those in CASES.items()
        for type_ in RULE[name].also
        for n, (sent, path) in enumerate(those.failing)
    ],
)
def test_a_rule_objects_to_other_types(name: str, type_: str, sent: Sent, path: str) -> None:
    changed, before = within(sent, type_)
    path = cases.path_in_service(path) if type_ == SERVICE else path
    messages = [report.message for report in judge([changed]) if report.rule.name == name]
    assert any(message.startswith(f"{sent.name}: {before}{path}: ") for message in messages)


OF_SERVICES = [rule.name for rule in RULES if SERVICE in rule.also]


@pytest.mark.parametrize("name", OF_SERVICES)
def test_a_rule_for_containers_judges_services(pack: Pack, name: str) -> None:
    for sent in CASES[name].passing:
        assert all(resource.type == CONTAINER for resource in sent)
        messages = [diagnostic.message for diagnostic in pack.judge([*map(cases.as_service, sent)]) if diagnostic.rule == name]
        assert messages == []
    for sent, path in CASES[name].failing:
        for hide in (False, name not in OF_SECRECY):
            judged = [hidden(cases.as_service(resource)) if hide else cases.as_service(resource) for resource in sent]
            messages = [diagnostic.message for diagnostic in pack.judge(judged) if diagnostic.rule == name]
            assert any(f": {cases.path_in_service(path)}: " in message for message in messages)
            assert [value for resource in sent for value in values_of(resource) if value in "\n".join(messages)] == []


# What no service has: all ports of an image at once.
OF_CONTAINERS_ONLY = "publishAllPorts"
OF_STACKS = [rule.name for rule in RULES if rule.type == STACK and rule.name in CASES]


def as_services(sent: Sequence[Sent]) -> list[Sent]:
    return [cases.as_service(resource) if resource.type == CONTAINER else resource for resource in sent]


@pytest.mark.parametrize("name", OF_STACKS)
def test_a_rule_of_the_stack_judges_services(name: str) -> None:
    for sent in CASES[name].passing:
        assert [report.message for report in judge(as_services(sent)) if report.rule.name == name] == []
    for sent, path in CASES[name].failing:
        if any(OF_CONTAINERS_ONLY in resource.inputs for resource in sent):
            continue
        messages = [report.message for report in judge(as_services(sent)) if report.rule.name == name]
        about, _, property_ = path.partition(": ")
        of_container = any(resource.type == CONTAINER and resource.name == about for resource in sent)
        wanted = f"{about}: {cases.path_in_service(property_)}" if of_container and property_ else path
        assert any(message.startswith(f"stack prod: {wanted}: ") for message in messages)


@pytest.mark.parametrize("name", OF_SERVICES)
def test_an_unknown_value_of_a_service_is_reported_and_refuses_nothing(pack: Pack, name: str) -> None:
    sent, _ = CASES[name].failing[0]
    unknown = [replace(cases.as_service(resource), inputs={"taskSpec": UNKNOWN, "endpointSpec": UNKNOWN}) for resource in sent]
    diagnostics = pack.judge(unknown)
    assert [diagnostic for diagnostic in diagnostics if diagnostic.rule == name] == []
    assert any(name in diagnostic.message for diagnostic in diagnostics if diagnostic.rule == "policy-value-known")


def test_an_unknown_variable_of_a_service_hides_no_other() -> None:
    service = cases.as_service(cases.environment("A=b", f"MAIL_PASSWORD={cases.LONG}"))
    spec = service.inputs["taskSpec"]["containerSpec"]
    spec["env"] = {"FIRST": UNKNOWN, **spec["env"], "LAST": UNKNOWN}
    (report,) = [report for report in judge([service]) if report.rule.name == "docker-container-secrets-named"]
    assert report.message.startswith("one: taskSpec.containerSpec.env[MAIL_PASSWORD]: ")


def test_which_rules_judge_containers_only() -> None:
    of_containers = {rule.name for rule in RULES if rule.type == CONTAINER and SERVICE not in rule.also}
    # A service of the provider (5.2.0) has no such argument, or another rule for services judges what it has instead.
    assert of_containers == {
        "docker-container-apparmor-on",
        "docker-container-cgroup-own",
        "docker-container-devices-absent",
        "docker-container-gpus-granted",
        "docker-container-health-awaited",
        "docker-container-host-network-bare",
        "docker-container-ipc-namespace-own",
        "docker-container-network-namespace-own",
        "docker-container-network-user-defined",
        "docker-container-no-new-privileges",
        "docker-container-pid-namespace-own",
        "docker-container-ports-chosen",
        "docker-container-ports-on-loopback",
        "docker-container-restarted",
        "docker-container-seccomp-on",
        "docker-container-swap-limited",
        "docker-container-unprivileged",
        "docker-container-user-namespace-own",
    }


@pytest.mark.parametrize(("name", "sent", "path"), [case for case in FAILING if reads_inputs(str(case.values[0]))])
def test_an_unknown_value_is_reported_and_refuses_nothing(pack: Pack, name: str, sent: list[Sent], path: str) -> None:
    keys = [key.partition("[")[0].partition(".")[0] for key in RULE[name].property.split(", ")]
    unknown = [with_inputs(resource, {**resource.inputs, **dict.fromkeys(keys, UNKNOWN)}) for resource in sent]
    diagnostics = pack.judge(unknown)
    assert [diagnostic for diagnostic in diagnostics if diagnostic.rule == name] == []
    reported = [diagnostic for diagnostic in diagnostics if diagnostic.rule == "policy-value-known"]
    (unchecked,) = [diagnostic for diagnostic in reported if name in diagnostic.message]
    assert unchecked.level == "advisory"
    assert any(key in unchecked.message for key in keys)
