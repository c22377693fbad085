"""What is blanked and, as important, what is not: a report without digests and ids is useless."""

import base64
import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.redaction import Redactor, looks_random, name_is_secret

KNOWN = "correct-horse/battery+staple"
GENERATED = "kZ8mQ2vT5xW1cR7nB4hJ9pL3sD6fG0yA"
NOTHING = Redactor.of([])


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY",
        "PGPASSWORD",
        "tunnelSecret",
        "x-api-key",
        "apikey",
        "bcryptHash",
        "PWD_HASH",
        "UI_LOGIN_SHA256",
        "uiLoginSha256",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert name_is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["LLM_KEY", "key", "keepers", "publicKey", "contentHash", "monkey", "passwordLength", "tokenTtl", "secretName", "token2", ""],
)
def test_names_that_only_look_like_it(name: str) -> None:
    assert not name_is_secret(name)


@pytest.mark.parametrize(
    "text",
    [
        f"a {KNOWN} b",
        f"https://user:{quote(KNOWN, safe='')}@example.com",
        base64.b64encode(f"user:{KNOWN}".encode()).decode(),
        base64.b64encode(f"us:{KNOWN}!".encode()).decode(),
        base64.urlsafe_b64encode(f"u:{KNOWN}?".encode()).decode(),
        KNOWN.encode().hex(),
        f"0x{KNOWN.encode().hex().upper()}ff",
        "".join(f"%{number:02x}" for number in KNOWN.encode()),
        "".join(f"%{number:02X}" for number in KNOWN.encode()),
        "".join(f"\\x{number:02x}" for number in KNOWN.encode()),
        "".join(f"\\u{number:04x}" for number in KNOWN.encode()),
        "".join(f"\\u{number:04X}" for number in KNOWN.encode()),
    ],
)
def test_a_known_value_is_blanked_in_every_form(text: str) -> None:
    cleaned = Redactor.of([KNOWN]).text(text)
    assert "[secret]" in cleaned
    assert not any(
        part in cleaned for part in ("horse", "aG9yc2", "hvcnNl", "b3JzZ", "686f72", "686F72", "%68", "0068", "x68", text)
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abcdefghijkl", "Authorization: Bearer [secret]"),
        ("postgresql://skyvern:p4ss@host/db", "postgresql://skyvern:[secret]@host/db"),
        ("PGPASSWORD=abc psql", "PGPASSWORD=[secret] psql"),
        ('{"apiToken": "abc def"}', '{"apiToken": "[secret]"}'),
        ("$2a$10$abcdefghijklmnopqrstuv", "[secret]"),
        ("-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\n", "[secret]\n"),
        ("ghp_0123456789abcdefghij", "[secret]"),
        ("Set-Cookie: session=abc123; Path=/", "Set-Cookie: [secret]; Path=/"),
        ("MAIL_PWD=abc", "MAIL_PWD=[secret]"),
        (f"word {GENERATED}", "word [secret]"),
        ("ask jane.doe@example.com", "ask j***@example.com"),
    ],
)
def test_what_has_the_form_of_a_secret(text: str, shown: str) -> None:
    assert NOTHING.everything(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        f"postgres:17.6-trixie@sha256:{'0123456789abcdef' * 4}",
        "localhost/skyvern/server:4348a8314595",
        "aca35bf2-8f34-4690-9c31-04d790279c57.cfargotunnel.com",
        "skyvern:edge:CloudflareTunnel$cloudflare:index/zeroTrustTunnelCloudflaredConfig:ZeroTrustTunnelCloudflaredConfig",
        "Pulumi.prod.yaml: llm.api_key: is missing; set it with pulumi config set --secret",
        "docker-container-secrets-named: envs[PGPASSWORD]: docker inspect shows it",
        "LLM_KEY=OPENAI_GPT4O_MINI",
        "ssh://deploy@docker.example.com",
    ],
)
def test_what_a_report_is_about_stays(text: str) -> None:
    assert NOTHING.everything(text) == text


def test_short_values_are_blanked_as_words_and_the_shortest_not_at_all() -> None:
    redactor = Redactor.of(["sesame", "abc", "true", ""])
    assert redactor.text("open sesame, sesames; abc true") == "open [secret], sesames; abc true"


def test_data_is_judged_by_its_keys_and_the_names_of_variables() -> None:
    data = {
        "apiToken": "x",
        "rotation": {"api_key": 2},
        "envs": ["SECRET_KEY=abc", "TZ=Asia/Seoul"],
        "tokens": ["a"],
        "epoch": "2",
    }
    assert NOTHING.value(data) == {
        "apiToken": "[secret]",
        "rotation": {"api_key": 2},
        "envs": ["SECRET_KEY=[secret]", "TZ=Asia/Seoul"],
        "tokens": ["[secret]"],
        "epoch": "2",
    }


def test_the_value_of_a_variable_or_a_label_is_judged_by_its_name() -> None:
    variables = [
        {"key": "GATEWAY_KEY", "value": "x"},
        {"label": "skyvern.part", "value": "server"},
        {"name": "UI_LOGIN_SHA256", "value": "y"},
    ]
    assert [variable["value"] for variable in NOTHING.value(variables)] == ["[secret]", "server", "[secret]"]


@given(st.text(string.ascii_letters + string.digits, min_size=40, max_size=64), st.integers(0, 60), st.text(max_size=20))
def test_no_generated_secret_survives_wherever_it_is(secret: str, position: int, around: str) -> None:
    text = f"{around[:position]}{secret}{around[position:]}"
    assert secret not in Redactor.of([secret]).everything(text)


def test_most_generated_words_are_known_by_their_form() -> None:
    words = [
        base64.b64encode(bytes((7 * place + 31 * number * number) % 256 for place in range(36))).decode()
        for number in range(1, 200)
    ]
    assert sum(looks_random(word.replace("/", "a").replace("+", "b")) for word in words) > 180


def test_the_redactor_does_not_print_what_it_knows() -> None:
    assert KNOWN not in repr(Redactor.of([KNOWN]))
