"""Results of policy rules in the engine's events: where their text is, as policy/rules/framework/evaluation.py words it.

Not here: what a report says of a result (ops/preview/events.py) and which are findings (ops/observe/doctor/policies.py).
"""

import re
from collections.abc import Mapping
from typing import Any

EXEMPTED = re.compile(r"exempted until (?P<expires>\d{4}-\d\d-\d\d) \((?P<reason>.*?)\): (?P<message>.*)", re.DOTALL)
UNCHECKED = re.compile(
    r"(?P<message>.*?): known after the update only, so not checked now, but then; by (?P<rules>.*)", re.DOTALL
)
# The rule that says which others could not run.
UNKNOWN_RULE = "policy-value-known"


def message(result: Mapping[str, Any]) -> str:
    """What a ``policyEvent`` says, without the rule's description, which is its first line."""
    whole = plain(result["message"])
    return whole.partition("\n")[2].strip() or whole.strip()


def plain(text: str) -> str:
    """A text without colours, be they terminal codes or the engine's own marks."""
    return re.sub(r"\x1b\[[0-9;]*[mK]|<\{%.*?%\}>", "", text)
