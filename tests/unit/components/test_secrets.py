"""The API key: made outside of Skyvern, the same at every plan, another one for another jti."""

import base64

import jwt

from components.secrets import API_KEY_EXPIRES, derive_fernet_key, mint_api_key
from components.settings import Settings
from tests.support import program

KEY = "s" * 64


def test_the_key_is_the_token_that_skyvern_verifies() -> None:
    token = mint_api_key(secret_key=KEY, organization_id="o_123456789012345678", jti="a")
    assert jwt.decode(token, KEY, algorithms=["HS256"]) == {"sub": "o_123456789012345678", "exp": API_KEY_EXPIRES, "jti": "a"}


def test_it_is_the_same_at_every_plan() -> None:
    first, second = (mint_api_key(secret_key=KEY, organization_id="o_1", jti="a") for _ in range(2))
    assert first == second


def test_a_rotation_makes_another_one() -> None:
    old, new = (mint_api_key(secret_key=KEY, organization_id="o_1", jti=jti) for jti in "ab")
    assert old != new


def test_the_vault_key_is_a_fernet_key() -> None:
    key = derive_fernet_key("p" * 64)
    assert len(base64.urlsafe_b64decode(key)) == 32
    assert key == derive_fernet_key("p" * 64) != derive_fernet_key("q" * 64)


def test_only_passwords_make_secrets() -> None:
    # RandomBytes keeps its value as the resource's id, RandomId as plain outputs: both would stand in the state in clear.
    kinds = {one.type for one in program.run(Settings()).registrations if one.type.startswith("random:")}
    assert kinds == {"random:index/randomPassword:RandomPassword"}
