"""ops alerts kakao: the login against a stand-in that takes what Kakao takes, and what is written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import typer
from pydantic import SecretStr

from lab.standins.kakao import Kakao, serving
from ops import ownership
from ops.clients import kakao as client
from ops.deploy import kakao, update
from ops.errors import UserError
from ops.machine import backend, environment
from ops.stack import passphrase
from ops.stack.stack import Stack

SECRET = "5ecret5ecret5ecret"
OLD = "tgram://TOKEN/CHAT kakaotalk://0123/old-token"


class Loopback(httpx.BaseTransport):
    """Kakao's host leads to the stand-in."""

    def __init__(self, address: str) -> None:
        self.address, self.through = httpx.URL(address), httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "https://kauth.kakao.com/oauth/token"
        request.url = self.address.copy_with(path=request.url.path)
        return self.through.handle_request(request)


@pytest.fixture
def there() -> Kakao:
    return Kakao(secret=SECRET)


@pytest.fixture
def transport(there: Kakao) -> Iterator[Loopback]:
    with serving(there) as address:
        yield Loopback(address)


def app(there: Kakao, **changed: Any) -> client.App:
    return client.App(**{"key": SecretStr(there.key), "secret": SecretStr(SECRET), **changed})


def test_a_code_is_exchanged_once(there: Kakao, transport: Loopback) -> None:
    code = SecretStr(there.agree())
    tokens = client.exchange(app(there), code, transport)
    assert tokens.refresh.get_secret_value() in there.refresh
    assert tokens.days == 59
    assert there.asked == [
        {
            "grant_type": "authorization_code",
            "client_id": there.key,
            "client_secret": SECRET,
            "redirect_uri": "https://localhost/",
            "code": code.get_secret_value(),
        }
    ]
    with pytest.raises(UserError, match=r"^kakao: Kakao refused the code: 400 KOE320 .*; a code can be used once") as refused:
        client.exchange(app(there), code, transport)
    assert SECRET not in str(refused.value)


def test_what_kakao_refuses_is_one_line_with_what_to_do(there: Kakao, transport: Loopback) -> None:
    for changed, expected in (
        ({"key": SecretStr("another")}, "KOE101 .*check the REST API key"),
        ({"secret": None}, "KOE010 .*check the client secret"),
    ):
        with pytest.raises(UserError, match=expected):
            client.exchange(app(there, **changed), SecretStr(there.agree()), transport)
    there.scope = "profile_nickname"
    with pytest.raises(UserError, match=r"does not allow messages; switch on talk_message"):
        client.exchange(app(there), SecretStr(there.agree()), transport)


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>log in to the Wi-Fi</html>"), httpx.Response(200, json=[])])
def test_another_answer_than_kakaos_is_one_line(there: Kakao, answer: httpx.Response) -> None:
    with pytest.raises(UserError, match=r"gave no answer of Kakao's login \(200\)"):
        client.exchange(app(there), SecretStr("code"), httpx.MockTransport(lambda request: answer))


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        (
            "https://localhost/?error=access_denied&error_description=User%20denied%0aaccess&state=s",
            "refused the login: User denied ",
        ),
        ("https://localhost/", "the address has no code"),
        ("code", "the address has no code"),
        ("https://localhost/?code=c&state=other", "is of another login"),
        ("https://localhost/?code=c", "is of another login"),
    ],
)
def test_an_address_without_a_code_of_this_login_is_refused(address: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as refused:
        client.code_of(address, "s")
    assert "\n" not in str(refused.value)


def test_only_the_earlier_message_to_oneself_is_replaced() -> None:
    new = SecretStr("kakaotalk://k/new")
    assert kakao.with_kakao(OLD, new) == "tgram://TOKEN/CHAT kakaotalk://k/new"
    assert (
        kakao.with_kakao("kakaotalk://k/t/friend slack://a/b/c", new) == "kakaotalk://k/t/friend slack://a/b/c kakaotalk://k/new"
    )
    assert kakao.with_kakao("", new) == "kakaotalk://k/new"


class Person:
    """Answers the prompts, and logs in at the address that is printed."""

    def __init__(self, there: Kakao) -> None:
        self.there, self.shown, self.hidden = there, list[str](), list[str]()

    def echo(self, text: str = "", **_: Any) -> None:
        self.shown.append(text)

    def prompt(self, text: str, *, hide_input: bool = False, **_: Any) -> str:
        if hide_input:
            self.hidden.append(text)
            return self.there.key if "REST" in text else SECRET
        (url,) = [line for shown in self.shown for line in shown.splitlines() if line.startswith("https://kauth.kakao.com/")]
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert (asked["response_type"], asked["client_id"], asked["scope"]) == ("code", self.there.key, "talk_message")
        return f"{asked['redirect_uri']}?code={self.there.agree()}&state={asked['state']}"


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    made = Stack("dev", tmp_path)
    (tmp_path / made.file_name).write_text("config:\n  skyvern:monitor:\n    enabled: true\n    channels:\n      secure: v1:x\n")
    for module, name in (
        (environment, "for_engine"),
        (ownership, "check"),
        (passphrase, "check"),
        (backend, "current_state"),
        (backend, "ensure_state"),
        (update, "ensure_stack"),
    ):
        monkeypatch.setattr(module, name, lambda *_: None)
    return made


def test_the_token_is_written_through_standard_input_and_shown_nowhere(
    stack: Stack, there: Kakao, transport: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, calls = Person(there), list[tuple[tuple[str, ...], bytes | None]]()

    def pulumi(_: Stack, *arguments: str, stdin: bytes | None = None, **__: Any) -> bytes:
        calls.append((arguments, stdin))
        return f"{OLD}\n".encode() if arguments[1] == "get" else b""

    monkeypatch.setattr(Stack, "pulumi", pulumi)
    monkeypatch.setattr(kakao, "attended", lambda: True)
    monkeypatch.setattr(typer, "echo", person.echo)
    monkeypatch.setattr(typer, "prompt", person.prompt)
    kakao.talk(stack, transport)
    (token,) = there.refresh
    assert calls == [
        (("config", "get", "--path", "monitor.channels"), None),
        (
            ("config", "set", "--secret", "--path", "monitor.channels"),
            f"tgram://TOKEN/CHAT kakaotalk://{SECRET}@{there.key}/{token}".encode(),
        ),
    ]
    assert len(person.hidden) == 2
    shown = "\n".join(person.shown)
    assert [value for value in (SECRET, token, "TOKEN") if value in shown] == []
    assert "next: script/up --stack dev, then bin/ops alerts test -s dev" in shown


def test_without_a_terminal_it_says_that_a_person_is_needed(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kakao, "attended", lambda: False)
    with pytest.raises(UserError, match=r"^alerts kakao: there is no terminal to ask on; Kakao's login needs a browser"):
        kakao.talk(stack)


def test_without_a_monitor_nobody_is_asked(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels without it are refused by the schema: the stack file would be wrong afterwards."""
    monkeypatch.setattr(kakao, "attended", lambda: True)
    stack.file.write_text("config: {}\n")
    with pytest.raises(UserError, match=r"^Pulumi\.dev\.yaml: monitor\.enabled: is false, .* write true first$"):
        kakao.talk(stack)
