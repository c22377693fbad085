"""The guide as a test: what it deploys is refused, each of its mistakes by name."""

import pytest

from policy.rules import RULES
from policy.rules.framework.evaluation import BUILT_IN
from tests.policy import analyzer
from tests.policy.guide import GUIDE, MISTAKES
from tests.policy.pack import broken, judge


@pytest.fixture(scope="module")
def refused() -> list[tuple[str, str]]:
    """Rule and message of every violation, on the wire."""
    with analyzer.running() as pack:
        return [(one.rule, one.message.partition("\n")[2]) for one in pack.judge(GUIDE) if one.level == "mandatory"]


@pytest.mark.parametrize(("rule", "where"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named(refused: list[tuple[str, str]], rule: str, where: str) -> None:
    assert [message for name, message in refused if name == rule and f"{where}: " in message]


def test_every_rule_has_something_to_say_about_the_guide() -> None:
    assert broken(judge(GUIDE)) == sorted({rule.name for rule in RULES} - {rule.name for rule in BUILT_IN})


def test_no_secret_of_the_guide_is_repeated(refused: list[tuple[str, str]]) -> None:
    told = "\n".join(message for _, message in refused)
    assert [value for value in ("skyvern:skyvern", "your-secure", "sk-your", "k3jd9", "your-api-key") if value in told] == []
