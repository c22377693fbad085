"""The guide as a test: what it deploys is refused, each of its mistakes by name."""

import pytest

from policy.rules import RULES
from policy.rules.containers import SECRET, SERVICE
from policy.rules.framework.evaluation import BUILT_IN
from tests.policy import analyzer
from tests.policy.guide import EDGE, FORUM, GUIDE, MISTAKES
from tests.policy.pack import broken, judge


@pytest.fixture(scope="module")
def refused() -> list[tuple[str, str]]:
    """Rule and message of every diagnostic, on the wire."""
    with analyzer.running() as pack:
        diagnostics = [*pack.judge([*GUIDE, *EDGE]), *pack.judge(FORUM)]
    return [(diagnostic.rule, diagnostic.message.partition("\n")[2]) for diagnostic in diagnostics]


@pytest.mark.parametrize(("rule", "where"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named(refused: list[tuple[str, str]], rule: str, where: str) -> None:
    assert [message for name, message in refused if name == rule and f"{where}: " in message]


def test_every_rule_objects_to_the_guide() -> None:
    objecting = {report.rule.name for report in [*judge([*GUIDE, *EDGE]), *judge(FORUM)]}
    # These ask for what only this project's backup and platform have.
    own = {"stack-restore-drilled", "stack-alert-channel-present", "stack-heartbeat-outside"}
    # The guide knows no Swarm.
    of_a_swarm = {rule.name for rule in RULES if rule.type in {SERVICE, SECRET}} | {"docker-network-overlay-confidential"}
    assert objecting == {rule.name for rule in RULES} - {rule.name for rule in BUILT_IN} - own - of_a_swarm


def test_each_part_of_the_guide_alone_is_refused() -> None:
    assert min(len(broken(judge(part))) for part in (GUIDE, EDGE, FORUM)) >= 18


def test_no_secret_of_the_guide_is_repeated(refused: list[tuple[str, str]]) -> None:
    messages = "\n".join(message for _, message in refused)
    secrets = [
        "skyvern:skyvern",
        "your-secure",
        "sk-your",
        "k3jd9",
        "your-api-key",
        "c2VjcmV0",
        "t0k3n",
        "h00k",
        "eyJh",
        "hunter2",
    ]
    assert [value for value in [*secrets, "0123456789abcdef", "abcdefghijkl"] if value in messages] == []
