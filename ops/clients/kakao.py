"""Kakao's login, as far as a message to oneself needs it: the address to agree at, and the exchange of its code for tokens.

Kakao Developers, "Kakao Login, REST API" (2026-11). Not here: sending and renewing, which the monitor does.
"""

from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from pydantic import SecretStr

from ops.clients import proxies
from ops.errors import UserError

LOGIN_URL = "https://kauth.kakao.com"
# Nothing listens there: the code is read from the browser's address bar. It has to be registered with the app, to the letter.
REDIRECT_URL = "https://localhost/"
# "Send message in KakaoTalk".
SCOPE = "talk_message"
TIMEOUT_SECONDS = 30
# Kakao's codes of a refused exchange.
_REMEDIES = {
    "KOE010": "check the client secret: it is needed where it is switched on, and wrong where it is not",
    "KOE101": "check the REST API key; it is not the key for JavaScript or the native one",
    "KOE320": "a code can be used once and for some minutes; open the address again",
}


@dataclass(frozen=True, kw_only=True)
class App:
    """An app of Kakao Developers. key: its REST API key. secret: its client secret, if that is switched on."""

    key: SecretStr
    secret: SecretStr | None = None


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What a login gives. refresh: the refresh token. days: for which it is valid."""

    refresh: SecretStr
    days: int

    def channel(self, app: App) -> SecretStr:
        """The address of a message to oneself, in Apprise's form."""
        secret = "" if app.secret is None else f"{app.secret.get_secret_value()}@"
        return SecretStr(f"kakaotalk://{secret}{app.key.get_secret_value()}/{self.refresh.get_secret_value()}")


def consent_url(app: App, state: str) -> str:
    """The address at which a person logs in and agrees. state: comes back with the code."""
    query = {
        "response_type": "code",
        "client_id": app.key.get_secret_value(),
        "redirect_uri": REDIRECT_URL,
        "scope": SCOPE,
        "state": state,
    }
    return f"{LOGIN_URL}/oauth/authorize?{urlencode(query)}"


def code_of(address: str, state: str) -> SecretStr:
    """The code in the address to which the browser was sent; UserError for any other address."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(address.strip()).query).items()}
    if "error" in query:
        described = query.get("error_description") or query["error"]
        raise UserError(f"kakao: Kakao refused the login: {_plain(described)}; open the address again and agree")
    if "code" not in query:
        raise UserError(f"kakao: the address has no code; paste all of it, it begins with {REDIRECT_URL}?code=")
    if query.get("state") != state:
        raise UserError("kakao: the address is of another login; open the address that is printed here, and paste where it led")
    return SecretStr(query["code"])


def exchange(app: App, code: SecretStr, transport: httpx.BaseTransport | None = None) -> Tokens:
    """The tokens for a code, which can be exchanged once. UserError where Kakao refuses, or the person has not agreed."""
    form = {
        "grant_type": "authorization_code",
        "client_id": app.key.get_secret_value(),
        "redirect_uri": REDIRECT_URL,
        "code": code.get_secret_value(),
        **({} if app.secret is None else {"client_secret": app.secret.get_secret_value()}),
    }
    try:
        with httpx.Client(transport=transport or proxies.Transport(), timeout=TIMEOUT_SECONDS) as http:
            answer = http.post(f"{LOGIN_URL}/oauth/token", data=form)
    except httpx.HTTPError as failed:
        raise UserError(f"kakao: {LOGIN_URL} cannot be reached ({type(failed).__name__}); try again") from None
    try:
        body = answer.json()
        if not answer.is_success:
            detail = " ".join(str(body.get(name) or "") for name in ("error_code", "error_description")).strip()
            remedy = _REMEDIES.get(str(body.get("error_code")), "open the address again")
            raise UserError(f"kakao: Kakao refused the code: {answer.status_code} {_plain(detail)}; {remedy}")
        granted = str(body.get("scope") or "").split()
        tokens = Tokens(refresh=SecretStr(str(body["refresh_token"])), days=int(body["refresh_token_expires_in"]) // 86400)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"kakao: {LOGIN_URL} gave no answer of Kakao's login ({answer.status_code}); try again") from None
    if SCOPE not in granted:
        raise UserError(
            f"kakao: the login does not allow messages; switch on {SCOPE} under Kakao Login, Consent Items, and agree to it"
        )
    return tokens


def _plain(text: str) -> str:
    """A text from outside, in one short line without control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:200]
