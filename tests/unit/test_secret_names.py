"""Names of secrets, which three places know: the policy pack, redaction, and the report of the server's start.

They cannot share a list: the pack imports nothing of ours, and the report is alone in its image. So the pack and redaction have
the same one twice, and a name that not all three know needs a reason here.
"""

import runpy
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import pytest
import yaml

from components.settings import Settings
from ops import redaction
from ops.paths import ROOT
from policy.rules import variables
from tests.support import program
from tests.support.program import SMTP, VERCEL, Program, plain

# Run, not imported, which would leave a compiled file beside it.
REPORT = runpy.run_path(str(ROOT / "images/server/start_report.py"))
KNOWS: dict[str, Callable[[str], bool]] = {
    "pack": variables.is_secret_name,
    "redaction": redaction.name_is_secret,
    "report": REPORT["is_secret"],
}


class Difference(NamedTuple):
    """Names that only some of the three know, and why that is right."""

    known_to: set[str]
    names: set[str]
    why: str


# Names of models in Skyvern's variables.
MODELS = {"LLM_KEY", "SECONDARY_LLM_KEY", "EXTRACTION_LLM_KEY"}
# Redaction has the same list.
_WORDS = variables.SECRET_WORDS
# By whole words: neither in the plural nor run together with another word.
_REPORT_KNOWS = {"PASSWORD", "SECRET", "TOKEN"}
DIFFERENCES = (
    Difference(
        {"pack", "redaction"},
        {
            *(f"MAIL_{word}{hashed}" for word in {*_WORDS} - _REPORT_KNOWS for hashed in ("", "_HASH")),
            *(f"MAIL_{word}S{hashed}" for word in _WORDS for hashed in ("", "_HASH")),
            *("LOGIN_HASH", "MAIL_PWD", "NGROK_AUTHTOKEN", "PGPASSWORD", "UI_LOGIN_SHA256"),
        },
        "no variable of the server is called so; test_the_report_knows_the_servers_secrets",
    ),
    Difference({"report"}, {"DATABASE_STRING"}, "its value is a URL, in which the other two find the password"),
    Difference(
        {"report"},
        {*variables.NOT_SECRET, *MODELS, "SECRET_NAME"},
        "the report may blank too much: it goes by any word of a name",
    ),
    Difference({"pack", "report"}, {"KEY"}, "in the stack file, key alone is the name of a model"),
    Difference(
        {"pack"},
        {"MAIL_KEYS", "MAIL_KEYS_HASH"},
        "in other data than variables, keys are those of a mapping or those that are public",
    ),
    Difference({"redaction"}, {"PWD"}, "for a variable, it is the working directory"),
)


@cache
def runs() -> tuple[Program, ...]:
    """The program with a language model, with each kind of edge, and with the UI at Vercel."""
    edge = {"provider": "cloudflare", "domain": "example.com", "api_token": "tk_" + "of-the-owner-" * 4}
    ngrok = {"provider": "ngrok", "domain": "your-name.ngrok.app", "authtoken": "tk_" + "of-the-owner-" * 4}
    files = (
        {"llm": {"provider": "openai", "api_key": "sk-" + "x" * 20, "keys": {"extraction": "OPENAI_GPT5_MINI"}}, "smtp": SMTP},
        {"edge": {**edge, "access_team": "acme", "access_emails": ["ops@example.com"]}},
        {"edge": ngrok},
        {"edge": edge, "frontend": VERCEL},
    )
    return tuple(program.run(Settings.model_validate(file), stack="prod") for file in files)


def listed() -> set[str]:
    """The words of the lists as last words of a name, also in the plural and of a hash, and the names that a list excepts."""
    words = {*variables.SECRET_WORDS, *REPORT["SECRET_WORDS"], "KEY"}
    names = {f"MAIL_{word}{more}" for word in words for more in ("", "S", "_HASH", "S_HASH")}
    return names | {"KEY", "LOGIN_HASH", "MAIL_PWD", "PWD", "SECRET_NAME"} | variables.NOT_SECRET | MODELS


def passed() -> Iterator[str]:
    """Names of the variables that the program passes to containers and to Vercel, and of those in levels.yaml."""
    for run in runs():
        for registration in run.registrations:
            yield from (plain(variable).partition("=")[0] for variable in registration.inputs.get("envs", []))
            if "key" in registration.inputs:
                yield registration.inputs["key"]
    levels = yaml.safe_load((ROOT / "policy/levels.yaml").read_text())
    yield from levels["parameters"]["docker-container-secrets-named"]["named"]


def known_to(name: str) -> set[str]:
    return {place for place, knows in KNOWS.items() if knows(name)}


def test_the_pack_and_redaction_have_the_same_list() -> None:
    assert redaction.SECRET_WORDS == variables.SECRET_WORDS
    assert redaction.NOT_SECRET == variables.NOT_SECRET
    assert redaction.MODEL_KEY == variables.MODEL_KEY


def test_a_name_that_not_all_know_has_a_reason() -> None:
    names = {*listed(), *passed()}
    assert {"GATEWAY_KEY", "NGROK_AUTHTOKEN", "SECRET_KEY", "TUNNEL_TOKEN", "UI_LOGIN_SHA256"} <= names
    differing = {name: known_to(name) for name in names if 0 < len(known_to(name)) < len(KNOWS)}
    assert differing == {name: difference.known_to for difference in DIFFERENCES for name in difference.names}


def test_the_report_knows_the_servers_secrets() -> None:
    names = {name for run in runs() for name in run.environment("server")}
    secrets = {name for name in names if {"pack", "redaction"} & known_to(name)}
    assert {"ENCRYPTOR_AES_SECRET_KEY", "OPENAI_API_KEY", "SECRET_KEY", "SKYVERN_API_KEY", "SMTP_PASSWORD"} <= secrets
    assert [name for name in sorted(secrets) if not KNOWS["report"](name)] == []


@pytest.mark.parametrize("name", ["MONKEY", "SECRET_KEY_PATH", "OLDPWD", "TIKTOKEN_CACHE_DIR", "PASSWORD_LENGTH"])
def test_names_that_only_look_like_it_for_a_variable(name: str) -> None:
    assert not variables.is_secret_name(name)
