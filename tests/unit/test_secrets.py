"""The API key: made outside of Skyvern, the same at every plan, another one for another jti."""

import jwt

from components.secrets import API_KEY_EXPIRES, mint_api_key

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
