"""Kakao's login and its message to oneself on loopback, as its pages describe the wire: forms in, JSON out, and nothing else.

Kakao Developers, "Kakao Login, REST API" and "Kakao Talk Message, REST API" (2026-11). Not here: the consent page of the browser,
for which ``agree`` gives a code.
"""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from lab import loopback

FORM = "application/x-www-form-urlencoded"
MOST_CHARACTERS = 200
ACCESS_SECONDS = 21599
REFRESH_SECONDS = 5183999
# A new refresh token is given when the old one is valid for less than this.
RENEWED_SECONDS = 30 * 86400


@dataclass
class Kakao:
    """An app and its one user. codes: code -> redirect address. refresh: the valid token -> seconds for which it is.

    messages: those sent. asked: the forms of the login, for tests.
    """

    key: str = "0123456789abcdef0123456789abcdef"
    secret: str | None = None
    redirect: str = "https://localhost/"
    scope: str = "talk_message"
    codes: dict[str, str] = field(default_factory=dict)
    refresh: dict[str, int] = field(default_factory=dict)
    access: dict[str, float] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)

    def agree(self) -> str:
        """The code that a person's browser gets after the consent."""
        code = secrets.token_urlsafe(32)
        self.codes[code] = self.redirect
        return code

    def token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """POST /oauth/token."""
        self.asked.append(form)
        if form.get("client_id") != self.key:
            return 401, _refusal("KOE101", "invalid_client", "Not exist client_id [null]")
        if form.get("client_secret") != self.secret:
            return 401, _refusal("KOE010", "invalid_client", "Bad client credentials")
        match form.get("grant_type"):
            case "authorization_code":
                code = form.get("code", "")
                if self.codes.pop(code, None) != form.get("redirect_uri"):
                    return 400, _refusal("KOE320", "invalid_grant", f"authorization code not found for code={code}")
                return 200, {**self._access(), **self._refresh(), "scope": self.scope}
            case "refresh_token":
                left = self.refresh.get(form.get("refresh_token", ""))
                if left is None:
                    return 400, _refusal("KOE322", "invalid_grant", "expired_or_invalid_refresh_token")
                if left >= RENEWED_SECONDS:
                    return 200, self._access()
                del self.refresh[form["refresh_token"]]
                return 200, {**self._access(), **self._refresh()}
        return 400, _refusal("KOE001", "invalid_request", "unsupported grant_type")

    def memo(self, authorization: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """POST /v2/api/talk/memo/default/send, the template text."""
        if self.access.get(authorization.removeprefix("Bearer "), 0) < time.time():
            return 401, {"msg": "this access token does not exist", "code": -401}
        try:
            template = json.loads(form["template_object"])
            fits = template["object_type"] == "text" and 0 < len(template["text"]) <= MOST_CHARACTERS
            linked = isinstance(template["link"], dict)
        except (KeyError, TypeError, ValueError):
            fits = linked = False
        if not (fits and linked):
            return 400, {"msg": "template_object is invalid", "code": -2}
        self.messages.append(template)
        return 200, {"result_code": 0}

    def _access(self) -> dict[str, Any]:
        token = secrets.token_urlsafe(32)
        self.access[token] = time.time() + ACCESS_SECONDS
        return {"token_type": "bearer", "access_token": token, "expires_in": ACCESS_SECONDS}

    def _refresh(self) -> dict[str, Any]:
        token = secrets.token_urlsafe(32)
        self.refresh[token] = REFRESH_SECONDS
        return {"refresh_token": token, "refresh_token_expires_in": REFRESH_SECONDS}


def _refusal(code: str, error: str, description: str) -> dict[str, Any]:
    return {"error": error, "error_description": description, "error_code": code}


@contextmanager
def serving(kakao: Kakao) -> Iterator[str]:
    """Its address on loopback, in the place of both of Kakao's hosts."""

    class Handler(loopback.Handler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            form = dict(parse_qsl(self.rfile.read(length).decode(), keep_blank_values=True))
            status, body = 404, _refusal("KOE002", "invalid_request", "no such address")
            if not self.headers.get("Content-Type", "").startswith(FORM):
                status, body = 400, _refusal("KOE001", "invalid_request", "not a form")
            elif self.path == "/oauth/token":
                status, body = kakao.token(form)
            elif self.path == "/v2/api/talk/memo/default/send":
                status, body = kakao.memo(self.headers.get("Authorization", ""), form)
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json;charset=UTF-8")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    with loopback.serving(Handler) as port:
        yield f"http://127.0.0.1:{port}"
