"""The addresses of a stack: every public host from one domain, and nobody else's."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import endpoints
from components.settings import Settings
from components.settings.base import LABEL
from components.settings.edge import cell_problem
from tests.support.program import VERCEL

TOKEN = "t" * 40
CLOUDFLARE = {"provider": "cloudflare", "domain": "example.com", "api_token": TOKEN}


def derive(**sections: Any) -> endpoints.Endpoints:
    return endpoints.derive(Settings.model_validate(sections))


def test_loopback_is_one_origin() -> None:
    urls = derive(host={"port": 9000})
    assert urls.app_url == urls.api_url == urls.ui_api_url == urls.stream_url == "http://localhost:9000"
    assert urls.sites == {"localhost": "app"}


def test_the_ui_behind_cloudflare_is_one_origin_and_programs_have_their_own() -> None:
    urls = derive(edge=CLOUDFLARE)
    assert urls.app_url == urls.ui_api_url == urls.stream_url == urls.artifact_base_url == "https://app.example.com"
    assert urls.api_url == "https://api.example.com"
    assert urls.api_base_url == "https://app.example.com/api/v1"
    assert urls.wss_base_url == "wss://app.example.com/api/v1"
    assert urls.sites == {"api.example.com": "api", "app.example.com": "app"}


def test_a_ui_on_vercel_has_three_origins_here_and_none_of_its_own() -> None:
    urls = derive(edge=CLOUDFLARE, frontend=VERCEL)
    assert urls.api_base_url == "https://api.example.com/api/v1"
    assert urls.wss_base_url == "wss://wss.example.com/api/v1"
    # Vercel's middleware adds the gateway key, so recordings are the UI's own origin.
    assert urls.artifact_base_url == urls.app_url == "https://app.example.com"
    assert urls.sites == {"api.example.com": "api", "artifact.example.com": "artifacts", "wss.example.com": "streams"}
    assert urls.on_vercel


def test_artifacts_can_be_left_out() -> None:
    urls = derive(edge=CLOUDFLARE, frontend={**VERCEL, "artifacts": False})
    assert set(urls.sites) == {"api.example.com", "wss.example.com"}


def test_a_cell_is_part_of_the_first_label_of_each_host() -> None:
    # Cloudflare's free certificate covers one label below the zone.
    cell = {**CLOUDFLARE, "cell": "shop"}
    assert derive(edge=cell).sites == {"shop-api.example.com": "api", "shop-app.example.com": "app"}
    urls = derive(edge=cell, frontend=VERCEL)
    assert urls.app_url == "https://shop-app.example.com"
    assert urls.wss_base_url == "wss://shop-wss.example.com/api/v1"
    assert urls.sites == {
        "shop-api.example.com": "api",
        "shop-artifact.example.com": "artifacts",
        "shop-wss.example.com": "streams",
    }
    assert all(host.count(".") == 2 and len(host.split(".")[0]) <= 63 for host in urls.sites)


@given(
    cells=st.sets(st.from_regex(LABEL, fullmatch=True).filter(lambda name: cell_problem(name) is None), min_size=2, max_size=4)
)
def test_no_host_of_a_cell_is_another_ones(cells: set[str]) -> None:
    hosts = [host for cell in (None, *cells) for host in endpoints.public_hosts("example.com", cell).values()]
    assert len(hosts) == len(set(hosts))
    assert all(len(host.split(".")[0]) <= 63 for host in hosts)


def test_ngrok_is_one_host() -> None:
    urls = derive(edge={"provider": "ngrok", "domain": "your-name.ngrok.app", "authtoken": TOKEN})
    assert urls.app_url == urls.api_url == urls.stream_url == "https://your-name.ngrok.app"
    assert urls.wss_base_url == "wss://your-name.ngrok.app/api/v1"
    assert urls.sites == {"your-name.ngrok.app": "app"}


@pytest.mark.parametrize("frontend", [{}, {"frontend": VERCEL}])
def test_no_host_holds_v1(frontend: dict[str, Any]) -> None:
    # The UI makes /api/v2 of its base URL by replacing the first "v1" in the whole of it.
    urls = derive(edge=CLOUDFLARE, **frontend)
    assert urls.api_base_url.index("v1") > urls.api_base_url.index("/api/")
    assert urls.wss_base_url.index("v1") > urls.wss_base_url.index("/api/")
