"""The stack file as a schema: every key, its type, default, unit and example, once.

This is the only reader of the Pulumi configuration; everything else gets frozen values. ``docs/configuration.md`` is made from
it. A wrong stack file raises SettingsError, whose lines are ``FILE: PATH: VALUE is wrong; write this``. Nothing here looks at the
environment, the network or the machine, so a plan depends on committed text only.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, SecretStr, Tag, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from components import addresses, llm_keys


class SettingsError(Exception):
    """A stack file that cannot be deployed; ``lines`` has one line for each mistake."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Section(BaseModel):
    """One section of the stack file: unknown keys are refused, values do not change."""

    # strict: YAML has types of its own, and a quoted number or a "yes" is a mistake.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, str_strip_whitespace=True)

    # Names that people bring from elsewhere, and what to do about each; the text of an error.
    instead: ClassVar[Mapping[str, str]] = {}


# In a list ``allow``: the Docker host itself, by whichever of its addresses.
THIS_HOST = "host"


def split_destination(entry: str) -> tuple[str, int]:
    """Host and port of an entry of ``allow``; ValueError when it has another form."""
    form = r"(?:(host|[\d.]+(?:/\d{1,2})?)|\[([0-9A-Fa-f:.]+(?:/\d{1,3})?)\]):([1-9]\d{0,4})"
    found = re.fullmatch(form, entry, re.ASCII)
    if found is None or int(found[3]) > 65535:
        raise ValueError("is not an address with a port")
    return found[1] or found[2], int(found[3])


def _private_destinations(value: list[str]) -> list[str]:
    """Entries that open something: ``host``, or addresses that are not public."""
    for entry in value:
        shown = json.dumps(entry, ensure_ascii=False)
        try:
            host, _ = split_destination(entry)
        except ValueError as wrong:
            raise ValueError(f"{shown} {wrong}; write ADDRESS:PORT, NETWORK/BITS:PORT or host:PORT") from None
        if host == THIS_HOST:
            continue
        found = addresses.network(host)
        if found is None:
            raise ValueError(f"{shown} is not an address; write ADDRESS:PORT, NETWORK/BITS:PORT or host:PORT")
        if found.is_loopback:
            raise ValueError(f"{shown} is the container itself; write host:PORT for a service of the Docker host")
        if not addresses.is_private(found):
            raise ValueError(f"{shown} is not private, so it needs no entry; remove it")
    return value


PrivateDestinations = Annotated[list[str], AfterValidator(_private_destinations)]


class ImageSettings(Section):
    """Where the container images come from."""

    source: Literal["official", "packages"] = Field(
        "official",
        description="`official` pulls the public images by digest and builds ours on them; `packages` builds everything "
        "from Debian, PyPI and Go packages, for machines that reach no image registry. It cannot change on existing data.",
        examples=["packages"],
    )


class HostSettings(Section):
    """The Docker host."""

    docker_host: str = Field(
        "unix:///var/run/docker.sock",
        description="The Docker daemon: a socket of this machine, or another machine over SSH (docs/cloudflare.md). The "
        "environment (DOCKER_HOST, docker context) never chooses it.",
        examples=["unix:///run/user/1000/docker.sock", "ssh://deploy@host.example.com:22"],
    )
    port: int = Field(
        8080,
        ge=1024,
        le=65535,
        description="Port of the gateway on 127.0.0.1. Two stacks on one host need two ports. With a tunnel (`edge`) no port is "
        "published, and this one is not used.",
    )
    firewall: bool = Field(
        True,
        description="A container that keeps the stack's own packet filter on the host (docs/security.md): networks apart, the "
        "host and private addresses out of reach, containers unreachable from outside. `false` only where it cannot work, as on "
        "a kernel without nf_tables.",
        examples=["false"],
    )
    timezone: str = Field(
        "Asia/Seoul", description="Time zone of the containers and of the browser (tz database name).", examples=["UTC"]
    )

    @field_validator("docker_host")
    @classmethod
    def _socket_or_ssh(cls, value: str) -> str:
        if value.startswith("tcp://"):
            raise ValueError(
                "is a TCP socket, which hands the whole machine to whoever reaches it; write unix:///path/to/docker.sock"
            )
        if value.startswith("ssh://"):
            if re.match(r"ssh://[^@/]*:[^@/]*@", value):
                # Not a ValueError, whose line would show the value.
                raise PydanticCustomError("value_kept_back", "holds a password, and SSH needs a key; write ssh://user@host")
            if not re.fullmatch(r"ssh://[a-z_][\w.-]*@\w[\w.-]*(:[1-9]\d{0,4})?", value, re.ASCII):
                raise ValueError("is not an SSH address of a Docker host; write ssh://user@host or ssh://user@host:port")
            return value
        if not re.fullmatch(r"unix:///\S+", value):
            raise ValueError("is not a Docker socket; write unix:///var/run/docker.sock")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        # The names of the pinned package: zoneinfo would read the machine's own database, and a plan must not depend on it.
        names = resources.files("tzdata").joinpath("zones").read_text().split()
        if value not in names:
            near = difflib.get_close_matches(value, names, n=1)
            raise ValueError(f"is not a time zone; write a tz database name, for example {near[0] if near else 'Asia/Seoul'}")
        return value


class ServerSettings(Section):
    """Skyvern itself: the API and the browsers."""

    memory_mib: int = Field(
        4096,
        ge=1536,
        description="Hard memory limit in MiB. Skyvern idles at about 700 MiB; a browser takes 300 to 700 each.",
    )
    cpus: float = Field(2.0, ge=0.01, le=256, description="CPU limit in cores.")
    max_steps: int = Field(25, ge=1, le=200, description="Steps after which a task stops (MAX_STEPS_PER_RUN).")
    code_blocks: bool = Field(
        False,
        description="Whether the server runs Python from workflows: code blocks and cached scripts (`run_with: code`). With "
        "`true`, whoever can open the UI or has a key runs Python inside the API process: it can read every secret there "
        "(database password, `SECRET_KEY`, API key, vault key) and reaches the internet and the LAN directly. With `false`, "
        "a run that asks for its script is done by the agent, and no scripts are generated.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Log level of Skyvern.")
    allow: PrivateDestinations = Field(
        [],
        description="What the server may reach besides the public internet, by TCP: `ADDRESS:PORT`, `NETWORK/BITS:PORT` "
        "(IPv6 in brackets) or `host:PORT` for a service of the Docker host, such as a mail server or the receiver of webhooks. "
        "`llm.base_url` and `browser.url` need no entry. Skyvern's own validation of URLs still applies.",
        examples=["[192.168.1.20:587, host:5678]"],
    )


class StartedBrowser(Section):
    """What every browser that Skyvern starts has."""

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


class HeadlessBrowser(StartedBrowser):
    """Chromium without a display."""

    type: Literal["headless"] = Field("headless", description="Chromium without a display.")


class HeadfulBrowser(StartedBrowser):
    """Chromium on a virtual display (Xvfb), which some sites insist on."""

    type: Literal["headful"] = Field(description="Chromium on a virtual display (Xvfb), which some sites insist on.")


class CdpBrowser(Section):
    """A Chrome elsewhere, by its debugging port: one for all runs, which therefore go one at a time."""

    type: Literal["cdp-connect"] = Field(description="A Chrome elsewhere.")
    url: str = Field(
        description="Chrome's debugging port, as the server's container reaches it. Chrome answers to an IP address, not "
        "to a name. The port has no login: nothing else may reach it (docs/browsers.md).",
        examples=["http://10.222.222.1:9222/"],
    )
    host_header: str | None = Field(
        None,
        pattern=r"^[0-9A-Fa-f.:\[\]]+:[0-9]{1,5}$",
        description="Host header for Chrome, where `url` is a name: IP address and port at which the container reaches Chrome, "
        "because Chrome answers with this address and Skyvern goes on there.",
        examples=["10.222.222.1:9222"],
    )
    proxy_port: int = Field(
        3128,
        ge=1024,
        le=65535,
        description="Port on 127.0.0.1 where the egress proxy waits for this Chrome, which has to be started with it.",
    )

    @field_validator("url")
    @classmethod
    def _is_debugging_port(cls, value: str) -> str:
        example = "http://10.222.222.1:9222/"
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError:
            raise ValueError(f"is not a URL; write it in full, for example {example}") from None
        if parts.username is not None or parts.password is not None:
            raise PydanticCustomError("value_kept_back", "contains a user or password, which Chrome does not use; remove it")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"is not a URL; write it in full, for example {example}")
        if port is None:
            raise ValueError(f"has no port; write Chrome's debugging port, for example {example}")
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise ValueError(f"has a path; write host and port alone, for example {example}")
        if parts.hostname == "localhost" or parts.hostname == "::1" or parts.hostname.startswith("127."):
            raise ValueError(f"is the container itself; write the address of Chrome's machine, for example {example}")
        return value


Browser = HeadlessBrowser | HeadfulBrowser | CdpBrowser


class DatabaseSettings(Section):
    """PostgreSQL."""

    memory_mib: int = Field(512, ge=256, description="Hard memory limit in MiB.")
    cpus: float = Field(1.0, ge=0.01, le=256, description="CPU limit in cores.")


class RotationSettings(Section):
    """Epochs of the secrets that rotate: a number that goes up makes a new secret at the next `pulumi up`."""

    database: int = Field(1, ge=1, description="Password of the role that Skyvern logs in to PostgreSQL with.")
    api_key: int = Field(1, ge=1, description="The organisation's API key; the old one is refused afterwards.")
    ui_login: int = Field(1, ge=1, description="Password of the UI.")
    gateway: int = Field(
        1, ge=1, description="Key by which Vercel's middleware and the gateway know each other; only with `frontend: vercel`."
    )
    tunnel: int = Field(1, ge=1, description="Secret of the Cloudflare Tunnel; only with `edge: cloudflare`.")


class RetentionSettings(Section):
    """Days after which files of finished runs are removed; `null` keeps them for ever, as Skyvern by itself does."""

    artifacts: int | None = Field(
        90, ge=1, le=36500, description="Screenshots, recordings and logs of runs, as the UI shows them.", examples=["null"]
    )
    downloads: int | None = Field(30, ge=1, le=36500, description="Files that runs downloaded.", examples=["null"])
    logs: int | None = Field(
        14, ge=1, le=36500, description="HAR files (whole requests, cookies among them) and log files.", examples=["null"]
    )
    videos: int | None = Field(30, ge=1, le=36500, description="Raw videos of the browser.", examples=["null"])


class DeploymentSettings(Section):
    """What may be deployed by `script/up`, `ops apply` and `ops rotate`. The program itself does not read it."""

    only_from_main: bool | None = Field(
        None,
        description="Refuse a checkout with changes, and a commit that is not on `main`. Left out, only the stack `prod` does.",
        examples=["true"],
    )


class NoLlm(Section):
    """No language model: workflows of plain steps run, AI steps fail."""

    provider: Literal["none"] = Field("none", description="No language model.")


def _registered(value: str, known: frozenset[str], prefix: str) -> str:
    if value in known:
        return value
    near = difflib.get_close_matches(value.upper(), sorted(known), n=1)
    example = near[0] if near else sorted(known)[0]
    raise ValueError(f"is not an LLM key that Skyvern registers; write one that starts with {prefix}, for example {example}")


class HostedLlm(Section):
    """What every provider behind an account needs."""

    api_key: SecretStr = Field(min_length=8, description="API key; set it with `pulumi config set --secret --path llm.api_key`.")


class OpenAiLlm(HostedLlm):
    """OpenAI."""

    provider: Literal["openai"] = Field(description="OpenAI.")
    key: str = Field("OPENAI_GPT4O_MINI", description="LLM_KEY: the model for everything.", examples=["OPENAI_GPT5_5"])
    secondary_key: str | None = Field(
        None,
        description="SECONDARY_LLM_KEY: the model for side tasks; `key` when left out.",
        examples=["OPENAI_GPT4O_MINI"],
    )

    @field_validator("key", "secondary_key")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return None if value is None else _registered(value, llm_keys.OPENAI, "OPENAI_")


class AnthropicLlm(HostedLlm):
    """Anthropic."""

    provider: Literal["anthropic"] = Field(description="Anthropic.")
    key: str = Field(description="LLM_KEY.", examples=["ANTHROPIC_CLAUDE4.5_SONNET"])

    @field_validator("key")
    @classmethod
    def _known(cls, value: str) -> str:
        return _registered(value, llm_keys.ANTHROPIC, "ANTHROPIC_")


class GeminiLlm(HostedLlm):
    """Google Gemini."""

    provider: Literal["gemini"] = Field(description="Google Gemini.")
    key: str = Field(description="LLM_KEY.", examples=["GEMINI_2.5_FLASH"])

    @field_validator("key")
    @classmethod
    def _known(cls, value: str) -> str:
        return _registered(value, llm_keys.GEMINI, "GEMINI_")


class OpenAiCompatibleLlm(HostedLlm):
    """Any server that speaks OpenAI's protocol."""

    provider: Literal["openai-compatible"] = Field(description="A server that speaks OpenAI's protocol.")
    base_url: str = Field(description="Base URL, with its version path.", examples=["https://llm.example.com/v1"])
    model: str = Field(min_length=1, description="Model name, as that server knows it.", examples=["qwen2.5-vl-7b"])
    vision: bool = Field(False, description="Whether the model reads screenshots.")

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"https", "http"} or not parts.hostname:
            raise ValueError("is not a URL; write it in full, for example https://llm.example.com/v1")
        if parts.username is not None or parts.password is not None:
            # Not a ValueError, whose line would show the value.
            raise PydanticCustomError(
                "value_kept_back", "contains a user or password, which would be stored in plain text; remove it"
            )
        if parts.query or parts.fragment:
            raise PydanticCustomError("value_kept_back", "has a query string, which would be stored in plain text; remove it")
        return value.rstrip("/")


class OllamaLlm(Section):
    """A model that runs on this host; docs/llm.md helps to choose one."""

    provider: Literal["ollama"] = Field(description="Ollama, on this host.")
    model: str = Field(
        description="Model as Ollama's library names it, with its tag.",
        examples=["qwen2.5:7b-instruct", "llama3.2:3b", "llava:7b"],
    )
    vision: bool | None = Field(
        None, description="Whether the model reads screenshots; if left out, the model's name decides (`llava:7b` does)."
    )
    context_length: int = Field(
        16384,
        ge=2048,
        le=1048576,
        description="Context in tokens. A page takes thousands; what does not fit is cut off silently. More takes memory.",
    )
    keep_alive: str = Field(
        "30m",
        pattern=r"^(-1|0|[1-9][0-9]*[smh])$",
        description="How long the model stays in memory after a call: seconds, minutes or hours; `-1` for ever, `0` not at all.",
        examples=["1h"],
    )
    memory_mib: int = Field(
        8192, ge=1024, description="Hard memory limit in MiB. Without a GPU the model and its context must fit in."
    )
    cpus: float = Field(2.0, gt=0, le=256, description="CPU limit in cores. Without a GPU: all that the host can spare.")
    gpu: bool = Field(False, description="Give Ollama the host's NVIDIA GPUs. Docker must be able to (docs/llm.md).")

    @field_validator("model")
    @classmethod
    def _has_a_tag(cls, value: str) -> str:
        if not re.fullmatch(r"(\w[\w.-]*(:\d+)?/)?(\w[\w.-]*/)*\w[\w.-]*(:\w[\w.-]*)?", value, re.ASCII):
            raise ValueError("is not a model name; write it as on ollama.com/library, for example qwen2.5:7b-instruct")
        if ":" not in value.rpartition("/")[2]:
            raise ValueError("has no tag, so it could be another model tomorrow; write one, for example qwen2.5:7b-instruct")
        return value

    @property
    def reads_screenshots(self) -> bool:
        """Whether Skyvern sends screenshots: as the stack file says, else as the model's family does."""
        return llm_keys.has_vision(self.model) if self.vision is None else self.vision


Llm = NoLlm | OpenAiLlm | AnthropicLlm | GeminiLlm | OpenAiCompatibleLlm | OllamaLlm


def _public_domain(value: str) -> str:
    """A bare domain in lower case, as every public host name is made from it."""
    label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    if "/" in value or ":" in value:
        raise ValueError("is a URL; write the bare domain, for example example.com")
    if len(value) > 240 or not re.fullmatch(rf"({label}\.)+[a-z][a-z0-9-]{{0,61}}[a-z0-9]", value):
        raise ValueError("is not a domain; use lower case without scheme or path, for example example.com")
    if "v1" in value:
        # The UI makes /api/v2 of its base URL by replacing the first "v1" of the whole of it.
        raise ValueError('has "v1" in it, which Skyvern\'s UI takes for the version in its URLs; use another domain')
    return value


PublicDomain = Annotated[str, AfterValidator(_public_domain)]


class NoEdge(Section):
    """Loopback only: the gateway is published on 127.0.0.1, and nothing reaches the host from outside."""

    provider: Literal["none"] = Field("none", description="Loopback only.")


class Tunnel(Section):
    """What every connector needs."""

    memory_mib: int = Field(256, ge=64, description="Hard memory limit of the connector in MiB.")
    connector_image: str | None = Field(
        None,
        description="An image of your own with the connector's program in it, instead of the public one; with a digest, or "
        "`localhost/…` for one that is on the daemon already. Needed where `images.source` is `packages`.",
        examples=["registry.example.com/cloudflared@sha256:…"],
    )

    allow: PrivateDestinations = Field(
        [],
        description="What the connector may reach besides the public internet, by TCP, as in `server.allow`; for a network that "
        "reaches the edge through a private address.",
        examples=["[192.168.1.5:7844]"],
    )

    @field_validator("connector_image")
    @classmethod
    def _pinned(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"localhost/\S+:\S+|\S+@sha256:[0-9a-f]{64}", value):
            raise ValueError("has no digest, so it could be another image tomorrow; write NAME@sha256:… or localhost/NAME:TAG")
        return value


Plan = Literal["free", "pro", "business"]


class CloudflareEdge(Tunnel):
    """A Cloudflare Tunnel, with DNS records and firewall rules in a zone that exists (docs/cloudflare.md)."""

    provider: Literal["cloudflare"] = Field(description="A Cloudflare Tunnel.")
    domain: PublicDomain = Field(
        description="The zone: the domain itself, without a host. `app.`, `api.` and the others are made from it; Cloudflare's "
        "free certificate covers no deeper name.",
        examples=["example.com"],
    )
    api_token: SecretStr = Field(
        min_length=40,
        max_length=80,
        description="API token; set it with `pulumi config set --secret --path edge.api_token`. Its permissions: "
        "docs/cloudflare.md.",
    )
    plan: Plan = Field("free", description="Plan of the zone. It bounds the rate limit, which cannot name a host on `free`.")
    always_https: bool = Field(
        True, description="Zone-wide: every proxied host of the zone answers HTTP with a redirect to HTTPS."
    )
    min_tls_1_2: bool = Field(True, description="Zone-wide: every proxied host of the zone refuses TLS 1.0 and 1.1.")
    tls_1_3: bool = Field(True, description="Zone-wide: every proxied host of the zone offers TLS 1.3.")
    hsts: bool = Field(
        True,
        description="Zone-wide: browsers that saw a proxied host of the zone refuse plain HTTP to that host (not to its "
        "subdomains) for half a year, also after it was switched off.",
    )
    firewall: bool = Field(
        True, description="A firewall rule that stops requests without a key at Cloudflare. The gateway refuses them anyway."
    )
    firewall_ruleset_id: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{32}$",
        description="Id of the zone's own custom rules, where it has some: a zone has one such ruleset. It is adopted as it is.",
        examples=["2f2feab2026849078ba485f918791bdc"],
    )
    rate_limit: bool = Field(
        True,
        description="A rule that stops an address which sends too many requests to the API. On `free` it counts the paths "
        "`/api/` and `/v1/` of every host of the zone.",
    )
    rate_limit_requests: int = Field(200, ge=1, description="Requests of one address, in one data centre, before it is stopped.")
    rate_limit_period: Literal[10, 60, 120, 300, 600] = Field(
        10, description="Seconds in which they are counted: 10 on `free`, to 60 on `pro`, to 600 on `business`."
    )
    rate_limit_timeout: Literal[10, 60, 600, 3600, 86400] = Field(
        10, description="Seconds for which it is stopped: 10 on `free`, to 3600 on `pro`, to 86400 on `business`."
    )
    rate_limit_ruleset_id: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{32}$",
        description="Id of the zone's own rate limiting rules, where it has some. It is adopted as it is.",
        examples=["2f2feab2026849078ba485f918791bdc"],
    )
    access_team: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="Puts Cloudflare Access in front of the UI, on top of its login: the team, `NAME` of "
        "NAME.cloudflareaccess.com.",
        examples=["example"],
    )
    access_emails: list[str] = Field([], description="Addresses that Access lets in.", examples=["[ops@example.com]"])
    access_domains: list[str] = Field(
        [], description="Mail domains whose every address Access lets in.", examples=["[example.com]"]
    )
    protocol: Literal["auto", "quic", "http2"] = Field(
        "auto", description="How the connector reaches Cloudflare. `http2` where UDP port 7844 is blocked, as WSL and offices do."
    )

    @field_validator("api_token")
    @classmethod
    def _is_a_token(cls, value: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[0-9A-Za-z_-]+", value.get_secret_value()):
            raise PydanticCustomError("value_kept_back", "is not a Cloudflare API token; write it as the dashboard showed it")
        return value

    @field_validator("access_emails")
    @classmethod
    def _are_addresses(cls, value: list[str]) -> list[str]:
        for one in value:
            if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", one):
                raise ValueError(
                    f"{json.dumps(one, ensure_ascii=False)} is not an email address; write one, for example ops@example.com"
                )
        return value

    @field_validator("access_domains")
    @classmethod
    def _are_domains(cls, value: list[str]) -> list[str]:
        for one in value:
            if "@" in one or "." not in one:
                raise ValueError(
                    f"{json.dumps(one, ensure_ascii=False)} is not a mail domain; write one, for example example.com"
                )
        return value


class NgrokEdge(Tunnel):
    """An ngrok endpoint with one host, for UI and API."""

    provider: Literal["ngrok"] = Field(description="An ngrok endpoint.")
    domain: PublicDomain = Field(
        description="The endpoint's host, reserved in ngrok's dashboard.", examples=["your-name.ngrok.app"]
    )
    authtoken: SecretStr = Field(
        min_length=20, description="Authtoken of the agent; set it with `pulumi config set --secret --path edge.authtoken`."
    )


Edge = NoEdge | CloudflareEdge | NgrokEdge


class GatewayFrontend(Section):
    """The UI on this host, behind the gateway: one origin for UI, API and streams."""

    provider: Literal["gateway"] = Field("gateway", description="The UI on this host.")


class VercelFrontend(Section):
    """The UI on Vercel, which needs `edge: cloudflare`; the API and streams are separate origins (docs/vercel.md)."""

    # Variables that guides for Skyvern on Vercel set by hand.
    instead: ClassVar[Mapping[str, str]] = {
        "VITE_API_BASE_URL": "is made from edge.domain; remove it",
        "VITE_WSS_BASE_URL": "is made from edge.domain; remove it",
        "VITE_ARTIFACT_API_BASE_URL": "is made from edge.domain if frontend.artifacts is true; remove it",
        "VITE_BROWSER_STREAMING_MODE": "follows the server's own setting; remove it",
        "VITE_SKYVERN_API_KEY": "would put the organisation's key into a file that everybody can read; remove it: the UI gets a "
        "session token after its login",
        "VITE_ENVIRONMENT": "is fixed in the published UI, and the server's own is always selfhosted; remove it",
        "VITE_ENABLE_LOG_ARTIFACTS": "is fixed in the published UI; retention.logs says how long logs are kept; remove it",
        "VITE_ENABLE_CODE_BLOCK": "is fixed in the published UI; write server.code_blocks",
    }

    provider: Literal["vercel"] = Field(description="The UI on Vercel.")
    api_token: SecretStr = Field(
        min_length=24,
        max_length=200,
        description="Token of an account in the team; set it with `pulumi config set --secret --path frontend.api_token`.",
    )
    team: str = Field(
        pattern=r"^(team_[A-Za-z0-9]+|[a-z0-9]([a-z0-9-]*[a-z0-9])?)$",
        description="The team: `NAME` of vercel.com/NAME, or its id. A personal account has one, too.",
        examples=["acme"],
    )
    plan: Literal["hobby", "pro"] = Field(
        description="Plan of the team. Vercel forbids business use of `hobby`, which takes one person and no repository of an "
        "organisation, and stops a site that exceeds its traffic. `pro` costs per person and for traffic above what it includes "
        "(docs/vercel.md).",
        examples=["pro"],
    )
    non_commercial: bool = Field(
        False, description="With `plan: hobby`: that this stack serves no business. Without it, `hobby` is refused."
    )
    project: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$",
        description="Name of the project on Vercel, which must be free in the team; `skyvern-STACK` if left out.",
        examples=["skyvern-prod"],
    )
    region: str = Field(
        "icn1",
        pattern=r"^[a-z]{3}[0-9]$",
        description="Where login, session tokens and recordings pass: Vercel's id of the region nearest to the host.",
        examples=["hnd1", "iad1"],
    )
    vercel_app: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="Puts the UI at `NAME.vercel.app` instead of `app.` of the domain: no record, no certificate to wait for. It "
        "must be free on all of Vercel, and differ from the project's name.",
        examples=["acme-skyvern-ui"],
    )
    verification: str | None = Field(
        None,
        pattern=r"^vc-domain-verify=\S+$",
        description="Where another account on Vercel holds the domain: the value of the TXT record that it asks for, as "
        "`pulumi up` shows it (docs/vercel.md).",
        examples=["vc-domain-verify=app.example.com,0123456789abcdef0123"],
    )
    source: Literal["upload", "git"] = Field(
        "upload",
        description="`upload` sends the folder `site/` of this project. `git` lets Vercel fetch the same folder from "
        "`repository`, at each push as well.",
    )
    repository: str | None = Field(
        None,
        pattern=r"^[\w.-]+(/[\w.-]+)+$",
        description="With `source: git`: your own copy of this project, on which Vercel's app is installed.",
        examples=["acme/skyvern-stack"],
    )
    git_provider: Literal["github", "gitlab", "bitbucket"] = Field(
        "github", description="With `source: git`: where the repository is hosted."
    )
    branch: str = Field(
        "main",
        pattern=r"^[\w.-]+(/[\w.-]+)*$",
        description="With `source: git`: the branch whose last commit is served.",
    )
    artifacts: bool = Field(
        True, description="Whether recordings and screenshots can be seen in the UI: `artifact.`, which only Vercel has a key to."
    )

    @field_validator("api_token")
    @classmethod
    def _is_a_token(cls, value: SecretStr) -> SecretStr:
        # The provider asks for 24 of these in a row; newer tokens have a prefix with an underscore.
        if not re.fullmatch(r"[0-9A-Za-z_-]*[0-9A-Za-z]{24}[0-9A-Za-z_-]*", value.get_secret_value()):
            raise PydanticCustomError("value_kept_back", "is not a Vercel token; write it as the dashboard showed it")
        return value


Frontend = GatewayFrontend | VercelFrontend


def _browser_type(value: Any) -> Any:
    """The tag of a browser section; one without a type is headless, so that a section with a locale alone is possible."""
    return value.get("type", "headless") if isinstance(value, dict) else getattr(value, "type", None)


class Settings(Section):
    """The whole stack file. Each field is one key below `skyvern:`."""

    images: ImageSettings = ImageSettings()
    host: HostSettings = HostSettings()
    server: ServerSettings = ServerSettings()
    browser: Annotated[
        Annotated[HeadlessBrowser, Tag("headless")]
        | Annotated[HeadfulBrowser, Tag("headful")]
        | Annotated[CdpBrowser, Tag("cdp-connect")],
        Discriminator(_browser_type),
    ] = HeadlessBrowser()
    database: DatabaseSettings = DatabaseSettings()
    rotation: RotationSettings = RotationSettings()
    retention: RetentionSettings = RetentionSettings()
    deployment: DeploymentSettings = DeploymentSettings()
    llm: Annotated[Llm, Field(discriminator="provider")] = NoLlm()
    edge: Annotated[Edge, Field(discriminator="provider")] = NoEdge()
    frontend: Annotated[Frontend, Field(discriminator="provider")] = GatewayFrontend()


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A section with several schemas. key: the one that chooses. schemas: by that key's value."""

    key: str
    description: str
    schemas: Mapping[str, type[Section]]


CHOICES: Mapping[str, Choice] = MappingProxyType(
    {
        "browser": Choice(
            key="type",
            description="The browser that Skyvern drives; `headless` without a `type`.",
            schemas={"headless": HeadlessBrowser, "headful": HeadfulBrowser, "cdp-connect": CdpBrowser},
        ),
        "llm": Choice(
            key="provider",
            description="The language model that reads pages and decides.",
            schemas={
                "none": NoLlm,
                "openai": OpenAiLlm,
                "anthropic": AnthropicLlm,
                "gemini": GeminiLlm,
                "openai-compatible": OpenAiCompatibleLlm,
                "ollama": OllamaLlm,
            },
        ),
        "edge": Choice(
            key="provider",
            description="How the stack is reached from outside.",
            schemas={"none": NoEdge, "cloudflare": CloudflareEdge, "ngrok": NgrokEdge},
        ),
        "frontend": Choice(
            key="provider",
            description="Where the UI is served.",
            schemas={"gateway": GatewayFrontend, "vercel": VercelFrontend},
        ),
    }
)


def sections() -> list[tuple[str, str, list[type[Section]]]]:
    """Key, description and schema of each section in the order of the stack file; a section with a choice has several."""
    found = []
    for name, field in Settings.model_fields.items():
        if choice := CHOICES.get(name):
            found.append((name, choice.description, list(choice.schemas.values())))
        else:
            schema = _section_type(field.annotation)
            found.append((name, schema.__doc__ or "", [schema]))
    return found


def _section_type(annotation: Any) -> type[Section]:
    if not (isinstance(annotation, type) and issubclass(annotation, Section)):
        raise TypeError(f"{annotation} is not a section")
    return annotation


def parse(raw: Mapping[str, Any], *, file: str, secret_keys: frozenset[str] = frozenset()) -> Settings:
    """Settings from the decoded values of the stack file.

    raw: section name -> decoded value, secrets in clear. secret_keys: sections that hold at least one encrypted value.
    Raises SettingsError with one line for each mistake.
    """
    try:
        settings = Settings.model_validate(dict(raw))
    except ValidationError as invalid:
        raise SettingsError([f"{file}: {_line(dict(error), raw)}" for error in invalid.errors()]) from None
    plain = [
        f"{file}: {section}.{name}: is in plain text; set it with `pulumi config set --secret --path {section}.{name}`"
        for section, value in settings
        for name, item in value
        if isinstance(item, SecretStr) and section not in secret_keys
    ]
    # By section, because the engine says no more: whether a section has an encrypted value, not which one it is.
    if plain:
        raise SettingsError(plain)
    if conflicts := [f"{file}: {line}" for line in _conflicts(settings)]:
        raise SettingsError(conflicts)
    return settings


# Longest period and longest timeout of a rate limiting rule, in seconds (Cloudflare's table of plans).
_RATE_LIMITS: Mapping[Plan, tuple[int, int]] = {"free": (10, 10), "pro": (60, 3600), "business": (600, 86400)}


def _conflicts(settings: Settings) -> Iterator[str]:
    """What is right by itself and wrong together, each as PATH: what is wrong; what to write."""
    browser = settings.browser
    if isinstance(browser, CdpBrowser) and browser.proxy_port == settings.host.port:
        yield f"browser.proxy_port: {browser.proxy_port} is also host.port; write another port"
    edge = settings.edge
    on_vercel = isinstance(settings.frontend, VercelFrontend)
    if on_vercel and not isinstance(edge, CloudflareEdge):
        yield (
            f'frontend.provider: "vercel" reaches this host through a Cloudflare Tunnel, and edge.provider is '
            f'"{edge.provider}"; write gateway, or edge.provider: cloudflare'
        )
    if isinstance(settings.frontend, VercelFrontend):
        yield from _vercel_conflicts(settings.frontend)
    if isinstance(edge, Tunnel) and settings.images.source == "packages" and edge.connector_image is None:
        yield (
            'images.source: "packages" has no connector: neither cloudflared nor ngrok can be built from packages; write '
            "official, or name your own image in edge.connector_image"
        )
    if isinstance(edge, CloudflareEdge):
        longest = dict(zip(("rate_limit_period", "rate_limit_timeout"), _RATE_LIMITS[edge.plan], strict=True))
        for key, most in longest.items():
            if edge.rate_limit and getattr(edge, key) > most:
                yield f"edge.{key}: {getattr(edge, key)} is more than the plan {edge.plan} allows; write {most} or less"
        if edge.access_team is not None and on_vercel:
            yield "edge.access_team: guards the UI on this host, and the UI is on Vercel; remove it"
        if edge.access_team is not None and not (edge.access_emails or edge.access_domains):
            yield "edge.access_team: would admit no one; set edge.access_emails or edge.access_domains as well"
        if edge.access_team is None and (edge.access_emails or edge.access_domains):
            yield "edge.access_team: is missing; write the NAME of NAME.cloudflareaccess.com, for example example"


def _vercel_conflicts(frontend: VercelFrontend) -> Iterator[str]:
    if frontend.plan == "hobby" and not frontend.non_commercial:
        yield (
            'frontend.plan: "hobby" may not serve a business (Vercel\'s fair use guidelines); write pro, '
            "frontend.non_commercial: true where it serves none, or frontend.provider: gateway"
        )
    if frontend.plan == "pro" and frontend.non_commercial:
        yield 'frontend.non_commercial: is for the plan hobby, and frontend.plan is "pro"; remove it'
    if frontend.source == "git" and frontend.repository is None:
        yield (
            "frontend.repository: is missing; write OWNER/NAME of your own copy of this project, and install Vercel's app on it "
            "first (docs/vercel.md); or write frontend.source: upload"
        )
    if frontend.source == "upload" and frontend.repository is not None:
        yield 'frontend.repository: is for frontend.source: git, and that is "upload"; write git, or remove it'
    if frontend.vercel_app is not None and frontend.verification is not None:
        yield "frontend.verification: is for a domain, and frontend.vercel_app needs none; remove it"


def load() -> Settings:
    """Settings of the stack that is being deployed; SettingsError when its file is wrong."""
    import pulumi  # here, so that ops and the tests of the schema do not pay for the engine's SDK
    from pulumi.runtime.config import CONFIG, is_config_secret

    prefix = f"{pulumi.get_project()}:"
    file = f"Pulumi.{pulumi.get_stack()}.yaml"
    raw: dict[str, Any] = {}
    mistakes = []
    for key, text in CONFIG.get().items():
        if not key.startswith(prefix):
            continue
        name = key.removeprefix(prefix)
        try:
            raw[name] = json.loads(text)
        except ValueError:
            mistakes.append(f"{file}: {name}: is a single value; write a section with keys below it (docs/configuration.md)")
    if mistakes:
        raise SettingsError(mistakes)
    return parse(raw, file=file, secret_keys=frozenset(name for name in raw if is_config_secret(prefix + name)))


def _line(error: dict[str, Any], raw: Mapping[str, Any]) -> str:
    """One line for one pydantic error: path, value (never a secret's), what is wrong, what to write."""
    path, schema = _locate(error["loc"], raw)
    kind, context, value = error["type"], error.get("ctx", {}), error.get("input")
    field = schema.model_fields.get(path[-1]) if schema is not None and path else None
    shown = (
        "" if isinstance(value, dict | list) or _is_secret(field) else f"{json.dumps(value, ensure_ascii=False, default=str)} "
    )
    where = ".".join(path)
    example = f", for example {field.examples[0]}" if field is not None and field.examples else ""
    if kind == "missing":
        return f"{where}: is missing; write it below `{'.'.join(path[:-1])}`{example}"
    if kind == "extra_forbidden":
        if schema is not None and path[-1] in schema.instead:
            return f"{where}: {schema.instead[path[-1]]}"
        known = sorted(schema.model_fields) if schema is not None else sorted(Settings.model_fields)
        near = difflib.get_close_matches(path[-1], known, n=1)
        return f"{where}: unknown key; " + (f"write `{near[0]}`" if near else f"known here: {', '.join(known)}")
    if kind in {"union_tag_invalid", "union_tag_not_found"} and isinstance(value, dict):
        choice = CHOICES[path[0]]
        tag = value.get(choice.key)
        given = "is missing" if tag is None else f"{json.dumps(tag, ensure_ascii=False)} is not a {choice.key}"
        return f"{where}.{choice.key}: {given}; write one of {', '.join(choice.schemas)}"
    if kind == "literal_error":
        return f"{where}: {shown}is not possible here; write {context['expected']}"
    if kind in {"model_type", "model_attributes_type", "dict_type", "union_tag_not_found"}:
        return f"{where}: {shown}is not a section; write its keys below it (docs/configuration.md)"
    if kind in {"too_short", "too_long"} and _is_secret(field):
        return f"{where}: is too {kind.removeprefix('too_')} for a key; write the whole key"
    if kind == "value_kept_back":
        return f"{where}: {error['msg']}"
    if kind == "value_error":
        return f"{where}: {shown}{context['error']}"
    if kind == "string_pattern_mismatch":
        return f"{where}: {shown}does not match {context['pattern']}; write one{example or ' that does'}"
    return f"{where}: {shown}is wrong: {error['msg'][0].lower()}{error['msg'][1:]}; write another value{example}"


def _locate(location: tuple[int | str, ...], raw: Mapping[str, Any]) -> tuple[list[str], type[Section] | None]:
    """Path as it stands in the stack file (without pydantic's union tags) and the schema that its last key belongs to."""
    names = [str(part) for part in location]
    if len(names) < 2:
        return names, Settings if names else None
    if choice := CHOICES.get(names[0]):
        tag = names.pop(1)
        return names, choice.schemas.get(tag)
    return names, _section_type(Settings.model_fields[names[0]].annotation)


def _is_secret(field: Any) -> bool:
    return field is not None and field.annotation is SecretStr
