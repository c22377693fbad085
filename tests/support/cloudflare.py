"""Cloudflare as the tests need it: a stack file's section, and answers of the API."""

from typing import Any

import httpx

TOKEN = "t" * 40


def edge_section(**keys: Any) -> dict[str, Any]:
    """A stack file's edge section, right but for the keys."""
    return {"edge": {"provider": "cloudflare", "domain": "example.com", "api_token": TOKEN, **keys}}


def succeeded(result: Any) -> httpx.Response:
    """The API's answer with a result."""
    return httpx.Response(200, json={"success": True, "errors": [], "messages": [], "result": result})


def failed(status: int, *errors: tuple[int, str]) -> httpx.Response:
    """The API's answer without one. errors: codes and messages."""
    listed = [{"code": code, "message": message} for code, message in errors]
    return httpx.Response(status, json={"success": False, "errors": listed, "messages": [], "result": None})
