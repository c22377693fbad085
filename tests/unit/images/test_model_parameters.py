"""Extra parameters of a custom model: the module of the server's image against the functions of the wheel that it installs.

On the real server, with listeners for what must not arrive: tests/host/test_code.py.
"""

import ast
import os
import re
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from tests.support import skyvern_wheel
from tests.support.server_image import load

REGISTRY = "skyvern/forge/sdk/api/llm/custom_llm_registry.py"
HOSTILE = {
    "base_url": "http://127.0.0.1:1/",
    "Base_Url": "http://127.0.0.1:1/",
    "fallbacks": [{"model": "vertex_ai/x", "vertex_credentials": "/proc/1/environ"}],
    "vertex_credentials": "/proc/1/environ",
    "aws_web_identity_token": "/proc/1/environ",
    "extra_body": {"x": 1},
    "mock_response": "x",
}
USEFUL = {"top_p": 0.5, "seed": 7, "thinking": {"type": "enabled", "budget_tokens": 1024}, "extra_headers": {"X-Title": "x"}}


class Config(BaseModel):
    """The fields of Skyvern's CustomLLMConfig that the registry reads."""

    display_name: str
    provider: str
    model_name: str
    api_key: str | None = None
    api_base: str | None = None
    api_version: str | None = None
    supports_vision: bool = True
    add_assistant_prefix: bool = False
    max_completion_tokens: int | None = None
    temperature: float | None = None
    reasoning_effort: str | None = None
    extra_parameters: dict[str, Any] = {}


@dataclass
class LlmConfig:
    model_name: str
    required_env_vars: list[str]
    supports_vision: bool
    add_assistant_prefix: bool
    max_completion_tokens: int | None
    temperature: float | None
    litellm_params: dict[str, Any]
    reasoning_effort: str | None


@pytest.fixture
def registry() -> ModuleType:
    """The wheel's functions that make a model's arguments, with doubles for what they import."""
    wanted = {"_strip_provider_prefix", "_litellm_model_name", "_build_litellm_params", "_build_llm_config"}
    parsed = ast.parse(skyvern_wheel.text(REGISTRY))
    parsed.body = [node for node in parsed.body if isinstance(node, ast.FunctionDef) and node.name in wanted]
    assert len(parsed.body) == len(wanted)
    module = ModuleType("custom_llm_registry")
    kinds = {name.upper(): name for name in ("openai_compatible", "openrouter", "gemini", "ollama")}
    vars(module).update(CustomLLMConfig=Config, CustomLLMProvider=SimpleNamespace(**kinds), LLMConfig=LlmConfig)
    vars(module).update(Any=Any, LiteLLMParams=dict)
    exec(compile(parsed, REGISTRY, "exec"), vars(module))  # noqa: S102
    return module


def passed(registry: ModuleType, extra: dict[str, Any]) -> dict[str, Any]:
    """litellm's arguments for a model, as Skyvern makes them at its start and before a run."""
    config = Config(display_name="x", provider="gemini", model_name="m", api_key="k", extra_parameters=extra)
    made: dict[str, Any] = registry._build_llm_config(config).litellm_params
    return made


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("model_parameters.py", monkeypatch)


def test_what_names_an_address_or_a_file_does_not_reach_litellm(registry: ModuleType, module: ModuleType) -> None:
    assert HOSTILE.items() <= passed(registry, HOSTILE).items(), "Skyvern refuses these itself: is the module still needed?"
    module.limit(registry, Config)
    own = {"api_key": "k", "model_info": {"model_name": "gemini/m"}}
    assert passed(registry, HOSTILE | USEFUL) == own | USEFUL


def start(module: ModuleType, registry: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Runs the module as Skyvern does; with which codes it ended the process."""
    llm = ModuleType("skyvern.forge.sdk.api.llm")
    vars(llm)["custom_llm_registry"] = registry
    schemas = ModuleType("skyvern.forge.sdk.schemas.custom_llms")
    vars(schemas)["CustomLLMConfig"] = Config
    for parent in ("skyvern", "skyvern.forge", "skyvern.forge.sdk", "skyvern.forge.sdk.api", "skyvern.forge.sdk.schemas"):
        monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    for double in (llm, schemas):
        monkeypatch.setitem(sys.modules, double.__name__, double)
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    module.configure_app(None)
    return ended


def test_the_pinned_skyvern_starts(module: ModuleType, registry: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert start(module, registry, monkeypatch) == []
    assert "fallbacks" not in passed(registry, HOSTILE)


@pytest.mark.parametrize("change", ["gone", "other parameters", "not asked"])
def test_another_skyvern_does_not_start(
    module: ModuleType,
    registry: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: str,
) -> None:
    build = registry._build_litellm_params
    if change == "gone":
        del vars(registry)["_build_litellm_params"]
    elif change == "other parameters":
        vars(registry)["_build_litellm_params"] = lambda config: build(config, "m")
    else:
        # As if the arguments were made by another function.
        vars(registry)["_build_llm_config"] = lambda config: SimpleNamespace(litellm_params=build(config, "m"))
    assert start(module, registry, monkeypatch) == [1]
    line = capsys.readouterr().err
    assert re.match(r"skyvern-start: model parameters: FAILED after \d\.\d s: RuntimeError: this Skyvern", line)
    assert line.count("\n") == 1


def test_the_pinned_skyvern_reads_extra_parameters_where_they_are_limited() -> None:
    """A call of litellm that took them from somewhere else would pass the list."""
    reading = {path for path, text in skyvern_wheel.modules() if ".extra_parameters" in text}
    assert reading == {REGISTRY, "skyvern/forge/sdk/schemas/custom_llms.py"}
    places = [
        function.name
        for function in ast.walk(ast.parse(skyvern_wheel.text(REGISTRY)))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(isinstance(node, ast.Attribute) and node.attr == "extra_parameters" for node in ast.walk(function))
    ]
    assert places == ["_build_litellm_params"]
