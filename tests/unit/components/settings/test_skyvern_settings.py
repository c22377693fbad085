"""Every setting of the pinned Skyvern is decided on: components/host/skyvern_settings.toml against the wheel and the program."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any
from unittest.mock import patch

import pytest
from pydantic import SecretStr

from components.settings import (
    AnthropicLlm,
    GeminiLlm,
    Llm,
    NoLlm,
    OllamaLlm,
    OpenAiCompatibleLlm,
    OpenAiLlm,
    Settings,
    certificates,
    llm_keys,
    skyvern_settings,
)
from components.settings.skyvern_settings import Decision, groups
from lab.standins.edge.certificates import Authority
from ops.paths import ROOT
from tests.support import program, skyvern_wheel
from tests.support.program import SMTP, plain

NUMBER = re.compile(r"(int|float|datetime)( \| None)?")
KEY = SecretStr("sk-number-1")
MODELS: tuple[Llm, ...] = (
    NoLlm(),
    OpenAiLlm(provider="openai", api_key=KEY, keys=dict.fromkeys(llm_keys.KINDS, "OPENAI_GPT5_MINI")),
    AnthropicLlm(provider="anthropic", api_key=KEY, key="ANTHROPIC_CLAUDE4.5_SONNET"),
    GeminiLlm(provider="gemini", api_key=KEY, key="GEMINI_2.5_FLASH"),
    OpenAiCompatibleLlm(provider="openai-compatible", api_key=KEY, base_url="https://x.example/v1", model="qwen"),
    OllamaLlm(provider="ollama", model="llava:7b"),
)
MAIL = {**SMTP, "internal": True}
BROWSERS = (
    {"type": "headless"},
    {"type": "cdp-connect", "url": "http://10.222.222.1:9222/", "host_header": "10.222.222.1:9222"},
)


STORE = {
    "type": "s3",
    "endpoint": "https://store.example.com",
    "buckets": "acme",
    "access_key_id": "key",
    "secret_access_key": KEY,
}


def defaults() -> dict[str, tuple[str, str]]:
    """Name -> type and default of each setting of the wheel, as Python text."""
    found = {}
    for field in skyvern_wheel.class_body("skyvern/config.py", "Settings"):
        if isinstance(field, ast.AnnAssign) and field.value is not None:
            found[ast.unparse(field.target)] = ast.unparse(field.annotation), default_text(field.value)
    return found


def default_text(value: ast.expr) -> str:
    """``Field(default=None, repr=False)`` is None, ``Field(default_factory=list)`` is []."""
    if not (isinstance(value, ast.Call) and ast.unparse(value.func) == "Field"):
        return ast.unparse(value)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in value.keywords}
    if "default" in given:
        return given["default"]
    return {"list": "[]"}.get(given["default_factory"], f"{given['default_factory']}()")


def decisions(*, beside: bool = False, unset: bool = False) -> dict[str, Decision]:
    """Decisions of one sort, by name."""
    chosen = [group for group in groups() if (group.beside, group.unset) == (beside, unset)]
    return {decision.name: decision for group in chosen for decision in group.decisions}


def to_decide() -> dict[str, tuple[str, str]]:
    """The settings that need a decision: all but numbers, which have one where the stack sets them."""
    rows = decisions()
    return {name: found for name, found in defaults().items() if name in rows or not NUMBER.fullmatch(found[0])}


def decided(name: str, among: dict[str, Decision]) -> Decision | None:
    """The decision on a setting: its own row, else the most exact pattern."""
    if name in among:
        return among[name]
    fitting = [pattern for pattern in among if "*" in pattern and fnmatchcase(name, pattern)]
    return among[max(fitting, key=len)] if fitting else None


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """The server's variables with each kind of model and of browser."""
    checkout = tmp_path_factory.mktemp("checkout")
    Authority(checkout)
    company = {"proxy": "http://proxy.example.com:3128", "ca_file": "ca.pem"}
    others = [{"smtp": MAIL}, {"storage": STORE}, {"host": company}]
    kinds = [{"browser": browser} for browser in BROWSERS] + [{"llm": model} for model in MODELS] + others
    with patch.object(certificates, "ROOT", checkout):
        yield [program.run(Settings.model_validate(kind)).environment("server") for kind in kinds]


def test_no_setting_of_the_wheel_is_undecided_or_has_another_default() -> None:
    rows = decisions()
    problems = []
    for name, (kind, default) in to_decide().items():
        decision = decided(name, rows)
        if decision is None:
            problems.append(f"{name}: new, {kind} = {default}")
        elif decision.default not in {default, "*"}:
            problems.append(f"{name}: its default is {default}, decided on was {decision.default}")
    assert not problems, "decide in components/host/skyvern_settings.toml:\n" + "\n".join(problems)


def test_every_decision_is_about_a_setting_of_the_wheel() -> None:
    rows = decisions()
    used = {decision.name for name in to_decide() if (decision := decided(name, rows))}
    assert used == set(rows)
    assert not set(decisions(beside=True)) & set(defaults())


def test_the_program_sends_what_is_decided_and_nothing_else(environments: list[dict[str, Any]]) -> None:
    rows = {**decisions(), **decisions(beside=True)}
    sent = {name for environment in environments for name in environment}
    assert sent == {name for name, decision in rows.items() if decision.sent}
    for environment in environments:
        for name, decision in rows.items():
            if decision.sets is not None:
                assert plain(environment[name]) == decision.sets, name


def test_what_modules_read_past_the_settings_is_decided_and_not_sent(environments: list[dict[str, Any]]) -> None:
    read = re.compile(r"os\.(?:environ\.get\(|environ\[|getenv\()\s*[\"']([A-Z][A-Z0-9_]*)[\"']")
    names = {
        name
        for path, text in skyvern_wheel.modules()
        if not path.startswith(("skyvern/browser_extension/", "skyvern/cli/", "skyvern/client/", "skyvern/library/"))
        for name in read.findall(text)
    }
    rows = decisions(unset=True)
    undecided = {name for name in names - set(defaults()) if decided(name, rows) is None}
    assert not undecided, "decide in components/host/skyvern_settings.toml"
    used = {decision.name for name in names if (decision := decided(name, rows))}
    assert used == set(rows)
    assert not [name for environment in environments for name in environment if decided(name, rows)]


def test_every_decision_has_a_reason_or_says_where_its_value_is_from() -> None:
    assert not [one.name for group in groups() for one in group.decisions if not one.why and one.source is None]


def test_the_committed_page_is_current() -> None:
    committed = (ROOT / "docs/skyvern-settings.md").read_text()
    assert committed == skyvern_settings.reference(), "run: bin/ops configuration --skyvern > docs/skyvern-settings.md"


def test_the_committed_korean_page_is_current() -> None:
    committed = (ROOT / "docs/ko/skyvern-settings.md").read_text()
    command = "bin/ops configuration --skyvern --language ko > docs/ko/skyvern-settings.md"
    assert committed == skyvern_settings.reference("ko"), f"run: {command}"
