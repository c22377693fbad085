"""The section ``browser``: one that Skyvern starts, or a Chrome elsewhere."""

from typing import Annotated, Literal

from pydantic import Field

from components.settings.base import PageDestinations, Port, Section, given, split_url

Allow = Annotated[
    PageDestinations,
    Field(
        description="What pages may reach besides the public internet, for sites of your own network: `NAME:PORT`, "
        "`ADDRESS:PORT` or `NETWORK/BITS:PORT` (IPv4, up to 256 addresses). URLs have to have the name or the address as it is "
        "written here. Skyvern's own calls (downloads, webhooks) reach it, too (docs/browsers.md).",
        examples=["[wiki.example.com:443, 172.17.0.1:5678]"],
    ),
]


class StartedBrowser(Section):
    """The keys of every browser that Skyvern starts."""

    locale: str = Field(
        "ko-KR",
        pattern=r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?$",
        description="Language of the browser (BCP 47).",
        examples=["en-US"],
    )
    sandbox: bool = Field(
        True,
        description="Chromium's own sandbox around every page. Where the host does not allow it, the server does not start; "
        "`false` leaves the container as the only wall around a hostile page (docs/browsers.md).",
    )
    allow: Allow = Field([])


class HeadlessBrowser(StartedBrowser):
    """Chromium without a display."""

    type: Literal["headless"] = "headless"


class HeadfulBrowser(StartedBrowser):
    """Chromium on a virtual display (Xvfb), which some sites insist on."""

    type: Literal["headful"]


def _debugging_port(url: str) -> str:
    example = "http://10.222.222.1:9222/"
    parts = split_url(url, example, login="Chrome does not use")
    if parts.port is None:
        raise ValueError(f"has no port; write Chrome's debugging port, for example {example}")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"has a path; write host and port alone, for example {example}")
    host = parts.hostname or ""
    if host in {"localhost", "::1"} or host.startswith("127."):
        raise ValueError(f"is the container itself; write the address of Chrome's machine, for example {example}")
    return url


class CdpBrowser(Section):
    """A Chrome elsewhere, by its debugging port: one for all runs, which therefore go one at a time."""

    type: Literal["cdp-connect"]
    url: Annotated[str, given(_debugging_port)] = Field(
        description="Chrome's debugging port, as the server's container reaches it. Chrome answers to an IP address, not "
        "to a name. The port has no login: nothing else may reach it (docs/browsers.md).",
        examples=["http://10.222.222.1:9222/"],
    )
    host_header: str | None = Field(
        None,
        pattern=r"^[0-9A-Fa-f.:\[\]]+:[0-9]{1,5}$",
        description="Host header for Chrome, where `url` is a name: IP address and port at which the container reaches Chrome, "
        "because Chrome answers with this address and Skyvern continues there.",
        examples=["10.222.222.1:9222"],
    )
    proxy_port: Port = Field(
        3128,
        description="Port on 127.0.0.1 where the egress proxy listens for this Chrome, which has to be started with it.",
    )
    allow: Allow = Field([])


Browser = HeadlessBrowser | HeadfulBrowser | CdpBrowser
