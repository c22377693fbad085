"""The gateway's configuration as text; what Caddy makes of it is tested on the host."""

import re

import pytest

from components import endpoints
from components.host.gateway import caddyfile
from components.settings import Settings
from components.ui import content_security_policy

URLS = endpoints.derive(Settings())


def test_the_urls_are_one_origin_in_dev() -> None:
    assert URLS.app_url == URLS.api_url == "http://localhost:8080"
    assert URLS.api_base_url == "http://localhost:8080/api/v1"
    assert URLS.wss_base_url == "ws://localhost:8080/api/v1"


def test_no_host_name_holds_v1() -> None:
    # The UI makes /api/v2 of its base URL by replacing the first "v1" in the whole of it.
    assert not any("v1" in host for host in URLS.sites)
    assert URLS.api_base_url.index("v1") > URLS.api_base_url.index("/api/")


def test_secrets_are_named_and_not_written() -> None:
    text = caddyfile(URLS)
    assert "{$SKYVERN_API_KEY}" in text
    assert "{$UI_LOGIN_SHA256}" in text


def test_no_client_text_passes_through_a_placeholder() -> None:
    """Caddy has expanded such text twice (GHSA-m2w3-8f23-hxxf, GHSA-j8px-rmrx-76h9); so there is no place for it at all."""
    found = set(re.findall(r"\{(?!\$)[a-z][^\s{}]*\}", caddyfile(URLS)))
    # The arguments of a snippet are filled in when the file is read.
    assert found == {"{args[0]}", "{err.status_code}"}


@pytest.mark.parametrize("code", [False, True])
def test_routes_for_uploaded_code_are_hidden_where_code_is_off(code: bool) -> None:
    assert ("@scripts" in caddyfile(URLS, code=code)) is not code


def test_a_file_may_be_as_large_as_skyvern_takes_it_and_its_form() -> None:
    assert caddyfile(URLS, upload_mib=100).count("max_size 102MiB") == 1


def test_the_policy_has_no_wildcard_and_no_inline_script() -> None:
    policy = dict(part.split(" ", 1) for part in content_security_policy(URLS).split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self' ws://localhost:8080"
    assert "*" not in content_security_policy(URLS)


def test_the_same_settings_give_the_same_file() -> None:
    assert caddyfile(URLS) == caddyfile(endpoints.derive(Settings()))


def test_only_loopback_has_a_port_that_can_be_another() -> None:
    """F26: behind an edge there is none, and its hosts are names."""
    assert "ssh -L 9000:localhost:9000 HOST" in caddyfile(endpoints.derive(Settings.model_validate({"host": {"port": 9000}})))
    edge = {"provider": "cloudflare", "domain": "example.com", "api_token": "t" * 40}
    assert "ssh -L" not in caddyfile(endpoints.derive(Settings.model_validate({"edge": edge})))
