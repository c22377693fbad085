"""The section ``llm``: the language model."""

import difflib
import json
import re
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from components.settings import llm_keys
from components.settings.base import Cpus, Section, each, given, redacted, split_url


class NoLlm(Section):
    """No language model: workflows of plain steps run, AI steps fail."""

    provider: Literal["none"] = "none"


def _unregistered(value: str, prefix: str, known: frozenset[str]) -> str | None:
    """What is wrong with an LLM key and what to write; None for one that Skyvern registers."""
    if value in known:
        return None
    near = difflib.get_close_matches(value.upper(), sorted(known), n=1)
    example = near[0] if near else sorted(known)[0]
    return f"is not an LLM key that Skyvern registers; write one that starts with {prefix}, for example {example}"


def _by_kind(prefix: str, known: frozenset[str]) -> AfterValidator:
    """Refuses an unknown kind of call, and an unknown key of one."""

    def check(value: dict[str, str]) -> dict[str, str]:
        for kind, key in value.items():
            if kind not in llm_keys.KINDS:
                near = difflib.get_close_matches(kind, llm_keys.KINDS, n=1)
                instead = f"write `{near[0]}`" if near else f"write one of {', '.join(llm_keys.KINDS)}"
                raise ValueError(f"`{kind}` is not a kind of call; {instead}")
            if problem := _unregistered(key, prefix, known):
                raise ValueError(f"`{kind}`: {json.dumps(key, ensure_ascii=False)} {problem}")
        return value

    return AfterValidator(check)


OpenAiKey = Annotated[str, each(partial(_unregistered, prefix="OPENAI_", known=llm_keys.OPENAI))]
AnthropicKey = Annotated[str, each(partial(_unregistered, prefix="ANTHROPIC_", known=llm_keys.ANTHROPIC))]
GeminiKey = Annotated[str, each(partial(_unregistered, prefix="GEMINI_", known=llm_keys.GEMINI))]


class HostedLlm(Section):
    """The keys of every provider behind an account."""

    api_key: SecretStr = Field(min_length=8, description="API key; set it with `pulumi config set --secret --path llm.api_key`.")


_SECONDARY = "SECONDARY_LLM_KEY: the model for side tasks; `key` when left out."
_KEYS = (
    "Other models for single kinds of calls, often cheaper ones (docs/llm.md): `extraction` and `check_user_goal` are called "
    "most. What is left out has `key` or `secondary_key`."
)


class OpenAiLlm(HostedLlm):
    """OpenAI."""

    provider: Literal["openai"]
    key: OpenAiKey = Field("OPENAI_GPT4O_MINI", description="LLM_KEY: the model for everything.", examples=["OPENAI_GPT5_5"])
    secondary_key: OpenAiKey | None = Field(None, description=_SECONDARY, examples=["OPENAI_GPT4O_MINI"])
    keys: Annotated[dict[str, str], _by_kind("OPENAI_", llm_keys.OPENAI)] = Field(
        {}, description=_KEYS, examples=["{extraction: OPENAI_GPT5_MINI}"]
    )


class AnthropicLlm(HostedLlm):
    """Anthropic."""

    provider: Literal["anthropic"]
    key: AnthropicKey = Field(description="LLM_KEY.", examples=["ANTHROPIC_CLAUDE4.5_SONNET"])
    secondary_key: AnthropicKey | None = Field(None, description=_SECONDARY, examples=["ANTHROPIC_CLAUDE4.5_HAIKU"])
    keys: Annotated[dict[str, str], _by_kind("ANTHROPIC_", llm_keys.ANTHROPIC)] = Field(
        {}, description=_KEYS, examples=["{extraction: ANTHROPIC_CLAUDE4.5_HAIKU}"]
    )


class GeminiLlm(HostedLlm):
    """Google Gemini."""

    provider: Literal["gemini"]
    key: GeminiKey = Field(description="LLM_KEY.", examples=["GEMINI_2.5_FLASH"])
    secondary_key: GeminiKey | None = Field(None, description=_SECONDARY, examples=["GEMINI_2.5_FLASH_LITE"])
    keys: Annotated[dict[str, str], _by_kind("GEMINI_", llm_keys.GEMINI)] = Field(
        {}, description=_KEYS, examples=["{extraction: GEMINI_2.5_FLASH_LITE}"]
    )


def _base_url(url: str) -> str:
    parts = split_url(url, "https://llm.example.com/v1", login="would be stored in plain text")
    if parts.query or parts.fragment:
        raise redacted("has a query string, which would be stored in plain text; remove it")
    return url.rstrip("/")


class OpenAiCompatibleLlm(HostedLlm):
    """Any server that speaks OpenAI's protocol."""

    provider: Literal["openai-compatible"]
    base_url: Annotated[str, given(_base_url)] = Field(
        description="Base URL, with its version path.", examples=["https://llm.example.com/v1"]
    )
    model: str = Field(min_length=1, description="Model name, as that server knows it.", examples=["qwen2.5-vl-7b"])
    vision: bool = Field(False, description="Whether the model reads screenshots.")


def _model_problem(model: str) -> str | None:
    if not re.fullmatch(r"(\w[\w.-]*(:\d+)?/)?(\w[\w.-]*/)*\w[\w.-]*(:\w[\w.-]*)?", model, re.ASCII):
        return "is not a model name; write it as on ollama.com/library, for example qwen2.5:7b-instruct"
    if ":" not in model.rpartition("/")[2]:
        return "has no tag, so it could be another model tomorrow; write one, for example qwen2.5:7b-instruct"
    return None


class OllamaLlm(Section):
    """A model that runs on this host; docs/llm.md helps to choose one."""

    provider: Literal["ollama"]
    model: Annotated[str, each(_model_problem)] = Field(
        description="Model as Ollama's library names it, with its tag.",
        examples=["qwen2.5:7b-instruct", "llama3.2:3b", "llava:7b"],
    )
    vision: bool | None = Field(
        None, description="Whether the model reads screenshots; if left out, the model's name decides (`llava:7b` does)."
    )
    context_length: int = Field(
        16384,
        ge=2048,
        le=1048576,
        description="Context in tokens. A page takes thousands; what does not fit is cut off silently. More takes memory.",
    )
    keep_alive: str = Field(
        "30m",
        pattern=r"^(-1|0|[1-9][0-9]*[smh])$",
        description="How long the model stays in memory after a call: seconds, minutes or hours; `-1` for ever, `0` not at all.",
        examples=["1h"],
    )
    memory_mib: int = Field(
        8192, ge=1024, description="Hard memory limit in MiB. Without a GPU the model and its context must fit in."
    )
    cpus: Cpus = Field(2.0, description="CPU limit in cores. Without a GPU: all that the host can spare.")
    gpu: bool = Field(False, description="Give Ollama the host's NVIDIA GPUs. Docker must support it (docs/llm.md).")

    @property
    def reads_screenshots(self) -> bool:
        """Whether Skyvern sends screenshots: as the stack file says, else as the model's family does."""
        return llm_keys.has_vision(self.model) if self.vision is None else self.vision


Llm = NoLlm | OpenAiLlm | AnthropicLlm | GeminiLlm | OpenAiCompatibleLlm | OllamaLlm
