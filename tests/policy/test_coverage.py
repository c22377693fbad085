"""COVERAGE.md is made from the rules as they are, and every control is covered or explained."""

from collections import Counter
from dataclasses import replace

import pytest

from policy.rules import RULES
from policy.rules.framework import coverage
from policy.rules.framework.coverage import CHECKS, CONTROLS, report
from tests.policy.pack import PACK


def test_the_page_is_current() -> None:
    assert (PACK / "COVERAGE.md").read_text() == report(RULES), "cd policy && python -m rules.framework.coverage > COVERAGE.md"


@pytest.mark.parametrize(("page", "count"), [("policy.md", "`{}-`, {} |"), ("ko/policy.md", "`{}-` {}개 |")])
def test_the_docs_count_the_rules(page: str, count: str) -> None:
    text = (PACK.parent / "docs" / page).read_text()
    rules = Counter(rule.name.partition("-")[0] for rule in RULES)
    about_itself = rules.pop("policy")
    assert [prefix for prefix, number in rules.items() if count.format(prefix, number) not in text] == []
    assert str(rules.total()) in text
    assert about_itself == 2


def test_every_control_of_sections_4_5_and_7_is_there() -> None:
    assert [control.number for control in CONTROLS] == [
        f"{section}.{n}" for section, last in ((4, 12), (5, 32), (7, 9)) for n in range(1, last + 1)
    ]


def test_a_rule_names_only_controls_that_exist() -> None:
    assert {number for rule in RULES for number in rule.cis} <= {control.number for control in CONTROLS}
    assert {check for rule in RULES for check in rule.prowler} <= {check.number for check in CHECKS}
    assert len({check.number for check in CHECKS}) == len(CHECKS)


def test_a_control_without_a_rule_must_be_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"control 5\.5: has 0 rules and is not explained"):
        report([rule for rule in RULES if "5.5" not in rule.cis])
    monkeypatch.setattr(coverage, "CONTROLS", [replace(CONTROLS[0], kind="out of scope")])
    with pytest.raises(ValueError, match=r"control 4\.1: has 1 rules and is out of scope"):
        report(RULES)
