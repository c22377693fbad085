"""Exemptions, levels, unknown values and the last state, without an engine."""

import datetime
from dataclasses import replace
from typing import Any

import pytest

from policy.rules import RULES
from policy.rules.containers import CONTAINER, VOLUME
from policy.rules.framework.evaluation import Evaluation
from policy.rules.framework.last_state import created_by_urn, inputs_by_urn
from policy.rules.framework.values import UNKNOWN as NOT_KNOWN
from policy.rules.framework.values import Inputs, decode, fill
from policy.rules.random import PASSWORD
from tests.policy.cases import DIGEST, LONG, container, environment, password, port
from tests.policy.edge_cases import record
from tests.policy.pack import SIGNATURE, TODAY, UNKNOWN, Sent, broken, judge, levels, secret

EXEMPTION = """\
exemptions:
  - stack: prod
    rule: docker-container-root-read-only
    resource: "*::one"
    reason: it writes below /usr
    expires: 2026-11-30
"""
WRITABLE = container(readOnly=None)


class TestExemptions:
    """What is exempted is reported and not refused, until its day."""

    def test_it_is_reported_with_its_reason_and_its_day(self) -> None:
        (report,) = judge([WRITABLE], levels(EXEMPTION))
        assert report.level == "advisory"
        assert report.rule.name == "docker-container-root-read-only"
        assert report.message.startswith("exempted until 2026-11-30 (it writes below /usr): one: readOnly: ")

    def test_the_last_day_counts(self) -> None:
        assert broken(judge([WRITABLE], levels(EXEMPTION), today=datetime.date(2026, 11, 30))) == []

    def test_the_day_after_both_are_violations(self) -> None:
        reports = judge([WRITABLE], levels(EXEMPTION), today=datetime.date(2026, 12, 1))
        assert broken(reports) == ["docker-container-root-read-only", "policy-exemption-current"]
        assert "expired on 2026-11-30; fix what it covered and remove it" in reports[-1].message

    def test_an_exemption_that_covers_nothing_is_a_violation(self) -> None:
        reports = judge([container()], levels(EXEMPTION))
        assert broken(reports) == ["policy-exemption-current"]
        assert "covers nothing that breaks the rule; remove it" in reports[-1].message

    def test_another_resource_and_another_rule_are_not_covered(self) -> None:
        reports = judge([WRITABLE, container("two", readOnly=None), container(privileged=True)], levels(EXEMPTION))
        assert broken(reports) == ["docker-container-root-read-only", "docker-container-unprivileged"]

    def test_it_does_not_count_in_another_stack(self) -> None:
        other = replace(WRITABLE, inputs={**WRITABLE.inputs, "name": "skyvern-dev-one"})
        assert broken(judge([other], levels(EXEMPTION), stack="dev")) == ["docker-container-root-read-only"]
        assert judge([replace(other, inputs={**other.inputs, "readOnly": True})], levels(EXEMPTION), stack="dev") == []

    def test_a_rule_of_the_stack_is_exempted_by_the_resource_it_names(self) -> None:
        text = EXEMPTION.replace("docker-container-root-read-only", "stack-port-one-door")
        door = container(image=f"nginx@{DIGEST}", ports=[port(80, 8080)])
        assert broken(judge([door])) == ["stack-port-one-door"]
        assert broken(judge([door], levels(text))) == []

    def test_two_writers_are_exempted_by_the_second(self) -> None:
        text = EXEMPTION.replace("docker-container-root-read-only", "stack-volume-one-writer").replace("::one", "::two")
        both = [container(name, volumes=[{"volumeName": "v", "containerPath": "/v"}]) for name in ("one", "two")]
        assert broken(judge(both)) == ["stack-volume-one-writer"]
        assert broken(judge(both, levels(text))) == []

    def test_a_destroy_asks_for_nothing(self) -> None:
        assert judge([], levels(EXEMPTION), today=datetime.date(2030, 1, 1)) == []


def test_a_level_is_the_stacks() -> None:
    debug = environment("LOG_LEVEL=DEBUG")
    assert broken(judge([debug])) == ["docker-container-log-level-quiet"]
    dev = replace(debug, inputs={**debug.inputs, "name": "skyvern-dev-one"})
    assert judge([dev], stack="dev") == []
    advice = levels("stacks: {prod: {docker-container-log-level-quiet: advisory}}")
    assert [report.level for report in judge([debug], advice)] == ["advisory"]


class TestUnknownValues:
    """An unknown value hides itself and nothing else, and what could not be checked is reported."""

    def test_an_unknown_variable_hides_no_other(self) -> None:
        reports = judge([environment(UNKNOWN, "ALLOWED_ORIGINS=*", UNKNOWN)])
        assert broken(reports) == ["docker-container-origins-exact"]
        (unchecked,) = [report for report in reports if report.rule.name == "policy-value-known" and report.urn]
        assert "one: envs[0], envs[2]: known after the update only" in unchecked.message
        assert "docker-container-origins-exact" in unchecked.message

    def test_an_unknown_source_hides_no_other_mount(self) -> None:
        socket = {"type": "bind", "source": "/var/run/docker.sock", "target": "/s"}
        reports = judge([container(mounts=[{"type": "bind", "source": UNKNOWN, "target": "/x"}, socket])])
        assert broken(reports) == ["docker-container-docker-socket-unmounted"]

    def test_elements_of_two_containers_are_reported_separately(self) -> None:
        first, second = container("a", ports=UNKNOWN), container("b", image="x", ports=[port(80, 8080)])
        reports = judge([first, second], levels("rules: {docker-container-image-pinned: disabled}"))
        unknown = [report for report in reports if report.rule.name == "policy-value-known" and not report.urn]
        (unchecked,) = [report for report in unknown if "a.ports" in report.message]
        assert "b.ports" not in unchecked.message

    @pytest.mark.parametrize(
        "changed",
        [
            {"capabilities": {"drops": [UNKNOWN]}},
            {"securityOpts": [UNKNOWN]},
            {"healthcheck": {"tests": [UNKNOWN]}},
            {"envs": ["BROWSER_TYPE=chromium-headless", UNKNOWN]},
        ],
    )
    def test_what_must_be_there_may_be_the_unknown_one(self, changed: dict[str, Any]) -> None:
        assert broken(judge([container(**changed)])) == []

    def test_an_unknown_secret_stays_unknown(self) -> None:
        assert broken(judge([environment(secret(UNKNOWN))])) == []

    def test_values_deployed_last_replace_unknown_ones(self) -> None:
        now = password(length=UNKNOWN)
        assert broken(judge([now])) == []
        (report,) = [report for report in judge([now], last={now.urn("prod"): {"length": 8}}) if report.level == "mandatory"]
        assert report.rule.name == "random-password-long"
        assert "(as it was last deployed)" in report.message
        assert judge([now], last={now.urn("prod"): {"length": 32}}) == []

    def test_a_mixture_of_what_was_and_what_will_be_is_not_judged(self) -> None:
        # app. moves from the tunnel to the UI's host: its target is not known yet, and is not the tunnel any more.
        moved = record(content=UNKNOWN, proxied=False)
        before = record().inputs
        assert broken(judge([moved], last={moved.urn("prod"): before})) == []
        assert "cloudflare-record-proxied" in broken(judge([moved], last={moved.urn("prod"): {**before, "proxied": False}}))

    def test_whoever_does_not_want_to_be_told_is_not(self) -> None:
        assert judge([password(length=UNKNOWN)], levels("rules: {policy-value-known: disabled}")) == []

    def test_a_finding_is_told_once(self) -> None:
        now = environment(UNKNOWN, "ALLOWED_ORIGINS=*")
        reports = judge([now], last={now.urn("prod"): {"envs": [f"A={LONG}", "ALLOWED_ORIGINS=*"]}})
        assert [report.rule.name for report in reports] == ["docker-container-origins-exact"]

    def test_the_last_state_is_asked_once_and_only_when_it_matters(self) -> None:
        asked: list[str] = []

        def last_state(urn: str) -> dict[str, dict[str, Any]]:
            asked.append(urn)
            return {}

        evaluation = Evaluation(RULES, levels(), today=TODAY, last_state=last_state, created=lambda _: {})
        evaluation.resource(container().resource("prod"))
        assert asked == []
        for name in ("a", "b"):
            evaluation.resource(password(name, length=UNKNOWN).resource("prod"))
        assert asked == [password("a").urn("prod")]


class TestDrills:
    @staticmethod
    def told(drilled: str, created: datetime.date | None, *, stack: str = "prod") -> list[tuple[str, bool]]:
        sent = Sent("skyvern:host:Backup", "backup", {"drilled": drilled})
        days = {} if created is None else {sent.urn(stack): created}
        reports = judge([sent], stack=stack, created=days)
        return [(report.level, "refuses" in report.message) for report in reports if report.rule.name == "stack-restore-drilled"]

    def test_the_first_two_weeks_are_for_the_first_drill(self) -> None:
        assert self.told("", None) == [("advisory", True)]
        assert self.told("", TODAY - datetime.timedelta(days=14)) == [("advisory", True)]
        assert self.told("", TODAY - datetime.timedelta(days=15)) == [("mandatory", False)]

    def test_a_drill_holds_for_a_quarter(self) -> None:
        made = TODAY - datetime.timedelta(days=400)
        assert self.told(str(TODAY), made) == self.told(str(TODAY - datetime.timedelta(days=92)), made) == []
        assert self.told(str(TODAY + datetime.timedelta(days=1)), made) == []
        assert self.told(str(TODAY - datetime.timedelta(days=93)), made) == [("mandatory", False)]

    def test_dev_is_told(self) -> None:
        assert self.told("", TODAY - datetime.timedelta(days=15), stack="dev") == [("advisory", False)]


def test_the_days_on_which_resources_were_made() -> None:
    resources = [{"urn": "urn:a", "created": "2026-11-08T23:59:59.5Z"}, {"urn": "urn:b"}]
    assert created_by_urn({"deployment": {"resources": resources}}) == {"urn:a": datetime.date(2026, 11, 8)}
    assert created_by_urn({}) == {}


def test_a_state_is_read_without_its_secrets() -> None:
    exported = {
        "deployment": {
            "resources": [
                {"urn": "urn:a", "inputs": {"length": 8, "envs": {SIGNATURE: secret("")[SIGNATURE], "ciphertext": "v1:abc"}}},
                {"urn": "urn:b"},
                {"urn": "urn:a", "delete": True, "inputs": {"length": 1}},
            ]
        }
    }
    assert inputs_by_urn(exported) == {"urn:a": {"length": 8, "envs": NOT_KNOWN}, "urn:b": {}}
    assert inputs_by_urn({"deployment": None}) == {}


def test_decoding_keeps_the_places_of_secrets() -> None:
    secrets: set[str] = set()
    sent = {"a": [1, secret("x")], "b": {"c": secret({"d": UNKNOWN})}, "e": {SIGNATURE: "an asset", "text": "t"}}
    assert decode(sent, secrets=secrets) == {"a": [1, "x"], "b": {"c": {"d": NOT_KNOWN}}, "e": NOT_KNOWN}
    assert secrets == {"a[1]", "b.c"}


def test_a_path_leads_to_every_value_at_it() -> None:
    inputs = Inputs({"ports": [{"ip": "::1"}, {}], "options": ["a"], "healthcheck": {"tests": ["NONE"]}})
    assert list(inputs.at("ports[].ip")) == [("ports[0].ip", "::1"), ("ports[1].ip", None)]
    assert list(inputs.at("options[]")) == [("options[0]", "a")]
    assert list(inputs.at("healthcheck.tests")) == [("healthcheck.tests", ["NONE"])]
    assert list(inputs.at("wait")) == [("wait", None)]
    assert list(inputs.at("mounts[].source")) == []


def test_filling_touches_unknown_values_only() -> None:
    now = {"a": NOT_KNOWN, "b": [1, NOT_KNOWN, NOT_KNOWN], "c": {"d": NOT_KNOWN}, "e": 5}
    assert fill(now, {"a": 1, "b": [7, 8], "c": {"d": 2}, "e": 6}) == {"a": 1, "b": [1, 8, NOT_KNOWN], "c": {"d": 2}, "e": 5}
    assert fill(now, None) == now


@pytest.mark.parametrize("type_", [CONTAINER, VOLUME, PASSWORD, "skyvern:host:HardenedService", "pulumi:pulumi:Stack"])
def test_an_empty_resource_breaks_no_check(type_: str) -> None:
    judge([Sent(type_, "one", {})])
