"""The sections about the Docker host and what runs on it in every stack."""

import difflib
import re
from functools import partial
from importlib import resources
from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from components import addresses
from components.settings import certificates
from components.settings.base import (
    LABEL,
    Cpus,
    Port,
    PrivateDestinations,
    Section,
    check_folder,
    each,
    entries,
    given,
    redacted,
    split_url,
)

# official: public images by digest, and ours built on them. packages: all built from Debian, PyPI and Go packages.
ImageSource = Literal["official", "packages"]


class ImageSettings(Section):
    """Where the container images come from."""

    source: ImageSource = Field(
        "official",
        description="`official` pulls the public images by digest and builds ours on them; `packages` builds everything "
        "from Debian, PyPI and Go packages, for machines that reach no image registry. It cannot change on existing data.",
        examples=["packages"],
    )


def _host_problem(entry: str) -> str | None:
    """A name whose certificate can be checked: without scheme, port and path."""
    right = re.fullmatch(rf"({LABEL}\.)+[a-z]([a-z0-9-]*[a-z0-9])?", entry)
    return None if right else "is not a host name; write it bare, for example www.example.com"


# Prefixes of host.networks. With /24 each of a stack's networks has 16 addresses, and the largest has eight containers.
NETWORKS_BITS = range(16, 25)
# The last is of benchmarks, for a host whose VPN has all the others.
LOCAL_RANGES = (*addresses.MACHINES_IPV4, "198.18.0.0/15")


def daemon_problem(address: str) -> str | None:
    """What is wrong with the address of a daemon, and what to write; None for nothing."""
    if address.startswith("tcp://"):
        return "is a TCP socket, which hands the whole machine to whoever reaches it; write unix:///path/to/docker.sock"
    if address.startswith("ssh://"):
        if re.match(r"ssh://[^@/]*:[^@/]*@", address):
            raise redacted("holds a password, and SSH needs a key; write ssh://user@host")
        if not re.fullmatch(r"ssh://[a-z_][\w.-]*@\w[\w.-]*(:[1-9]\d{0,4})?", address, re.ASCII):
            return "is not an SSH address of a Docker host; write ssh://user@host or ssh://user@host:port"
        return None
    return None if re.fullmatch(r"unix:///\S+", address) else "is not a Docker socket; write unix:///var/run/docker.sock"


def _range_problem(networks: str) -> str | None:
    network = addresses.network(networks)
    if not isinstance(network, IPv4Network):
        return "is not an IPv4 range; write one such as 10.213.0.0/16, with its first address"
    if network.prefixlen not in NETWORKS_BITS:
        most = f"/{NETWORKS_BITS[0]} to /{NETWORKS_BITS[-1]}"
        return f"has /{network.prefixlen}, and a stack's networks need {most}; write one such as 10.213.0.0/16"
    if not any(network.subnet_of(IPv4Network(allowed)) for allowed in LOCAL_RANGES):
        return f"is not a private range; write one within {', '.join(LOCAL_RANGES[:-1])} or {LOCAL_RANGES[-1]}"
    return None


def _proxy(url: str) -> str:
    """In one spelling."""
    example = "http://proxy.example.com:3128"
    parts = split_url(url, example, login="would be stored in plain text")
    if parts.scheme != "http":
        raise ValueError(f"is not an http:// address, by which such proxies are asked for https as well; write {example}")
    if parts.port is None:
        raise ValueError(f"has no port; write it, for example {example}")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise redacted("has a path or a query, which no proxy has; write its host and port alone")
    host = parts.hostname or ""
    if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:]+", host):
        raise ValueError(f"is not a URL; write it in full, for example {example}")
    network = addresses.network(host)
    if host == "localhost" or (network is not None and network.is_loopback):
        raise ValueError("is the container itself; write the address at which other machines reach the proxy")
    return f"http://{f'[{host}]' if ':' in host else host}:{parts.port}"


def _timezone_problem(name: str) -> str | None:
    # The names of the pinned package: zoneinfo would read the machine's own database, and a plan must not depend on it.
    names = resources.files("tzdata").joinpath("zones").read_text().split()
    if name in names:
        return None
    near = difflib.get_close_matches(name, names, n=1)
    return f"is not a time zone; write a tz database name, for example {near[0] if near else 'Asia/Seoul'}"


class HostSettings(Section):
    """The Docker host."""

    docker_host: Annotated[str, each(daemon_problem)] = Field(
        "unix:///var/run/docker.sock",
        description="The Docker daemon: a socket of this machine, or another machine over SSH (docs/cloudflare.md). The "
        "environment (DOCKER_HOST, docker context) never chooses it.",
        examples=["unix:///run/user/1000/docker.sock", "ssh://deploy@host.example.com:22"],
    )
    engine: Literal["docker", "swarm"] = Field(
        "docker",
        description="What runs the stack: containers of the one daemon `docker_host`, or services of the Docker Swarm that "
        "`docker_host` manages, on any of its machines (docs/cluster.md). It cannot change on existing data.",
        examples=["swarm"],
    )
    nodes: Annotated[list[str], entries(daemon_problem)] = Field(
        [],
        description="The other machines of a Docker Swarm, by their daemons; `docker_host` is its first. `ops cluster` makes the "
        "Swarm, `ops doctor` looks at it (docs/cluster.md). With `engine: docker` the stack itself runs on `docker_host` alone.",
        examples=["[ssh://deploy@b.example.net, ssh://deploy@c.example.net]"],
    )
    shared_folder: Annotated[str | None, given(partial(check_folder, example="/mnt/skyvern"))] = Field(
        None,
        description="With `engine: swarm`: a folder that every machine has at the same path and with the same content, such as a "
        "share of a NAS mounted by NFS. The stack's files are in `skyvern-STACK` in it; `script/up` makes that.",
        examples=["/mnt/skyvern"],
    )
    encrypted: bool = Field(
        False,
        description="With `engine: swarm`: whether the machines encrypt what the stack's services send each other. The kernel "
        "of each needs ESP for it, which WSL lacks. With `false` their network has to be private (docs/cluster.md).",
        examples=["true"],
    )
    port: Port = Field(
        8080,
        description="Port of the gateway on 127.0.0.1. Two stacks on one host need two ports. With a tunnel (`edge`) no port is "
        "published, and this one is not used.",
    )
    firewall: bool = Field(
        True,
        description="A container that keeps the stack's own packet filter on the host (docs/security.md): networks apart, the "
        "host and private addresses out of reach, containers unreachable from outside. `false` only where it cannot work, as on "
        "a kernel without nf_tables. With `engine: swarm` there is none.",
        examples=["false"],
    )
    proxy: Annotated[str | None, given(_proxy)] = Field(
        None,
        description="A company's HTTP proxy, where nothing leaves the network without one: for the server's calls (language "
        "models, webhooks, downloads), Ollama's models, ngrok, the monitor's messages, and as parent of the egress proxy. What "
        "cannot use it: docs/offline.md.",
        examples=["http://proxy.example.com:3128"],
    )
    ca_file: Annotated[str | None, given(certificates.check)] = Field(
        None,
        description="A company's certificates in PEM, for a proxy that opens TLS: a file in the checkout, by its path there. The "
        "server, its browsers, Ollama's download, the monitor's messages and builds of images trust them beside the public ones "
        "(docs/offline.md).",
        examples=["company-ca.pem"],
    )
    timezone: Annotated[str, each(_timezone_problem)] = Field(
        "Asia/Seoul", description="Time zone of the containers and of the browser (tz database name).", examples=["UTC"]
    )
    networks: Annotated[str, each(_range_problem)] = Field(
        "10.213.0.0/16",
        description="Private IPv4 range of the stack's Docker networks, `NETWORK/16` to `NETWORK/24`. A stack takes one block of "
        "512 addresses of it, chosen by its name, and each network a sixteenth of that: 10.213.228.0/23 for `dev`. Write another "
        "where a network of the host, a VPN or a Docker network has these addresses; `script/up` and `ops doctor` say so. A "
        "change replaces networks and containers.",
        examples=["172.29.0.0/16"],
    )
    mtu: int | None = Field(
        None,
        ge=576,
        le=9000,
        description="Largest packet of the stack's networks in bytes. Default: 1500, Docker's own. Write the host's where it is "
        "smaller, as on OpenStack clouds and behind a VPN (`ops doctor` compares the two): else pages do not load over TLS. A "
        "change replaces networks and containers.",
        examples=["1450"],
    )
    internet: bool = Field(
        True,
        description="Whether browsers are meant to reach the internet. Then `script/up`, `ops smoke` and `ops doctor` ask, "
        "through the egress proxy, whether they do. `false` on a machine that is offline on purpose: nothing is asked.",
        examples=["false"],
    )
    internet_hosts: Annotated[list[str], entries(_host_problem)] = Field(
        ["www.naver.com", "www.google.com", "www.cloudflare.com"],
        min_length=1,
        max_length=8,
        description="Who is asked for that, over HTTPS; one that answers is enough. Write your own where these are blocked, such "
        "as the sites that your workflows open.",
        examples=["[www.example.com]"],
    )

    @field_validator("nodes")
    @classmethod
    def _each_once(cls, value: list[str], info: ValidationInfo) -> list[str]:
        seen = {info.data.get("docker_host")}
        for node in value:
            if node in seen:
                raise ValueError(f"has {node} twice, or it is host.docker_host; write the other machines, each once")
            seen.add(node)
        return value

    @property
    def certificates(self) -> str | None:
        """The certificates of ``ca_file`` as PEM."""
        return None if self.ca_file is None else certificates.read(self.ca_file)


class ServerSettings(Section):
    """Skyvern itself: the API and the browsers."""

    memory_mib: int = Field(
        4096,
        ge=1536,
        description="Hard memory limit in MiB. Skyvern idles at about 700 MiB; a browser takes 300 to 700 each.",
    )
    cpus: Cpus = 2.0
    max_runs: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Runs at once, whoever starts them (API, UI, schedules); the others wait in order, as `queued`. Default: one "
        "for each 640 MiB of `memory_mib` beyond the first 1536, at least one: 4 with 4096, 10 with 8192. With `browser.type: "
        "cdp-connect` it is 1.",
        examples=["8"],
    )
    max_sessions: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Browser sessions at once that people and programs open, the live browser of the editor included; one more "
        "is refused. They do not count as runs. Default: a quarter of the runs, at least one.",
        examples=["2"],
    )
    drain_minutes: int = Field(
        5,
        ge=0,
        le=120,
        description="Before the server stops (an update, `docker stop`, shutdown of the host): for how long runs in progress may "
        "go on. Until then no new one starts; what has not ended by then is ended with a reason, and what is queued starts "
        "afterwards. At most 15 with `host.engine: swarm`.",
    )
    max_steps: int = Field(25, ge=1, le=200, description="Steps after which a task stops (MAX_STEPS_PER_RUN).")
    max_planned_steps: int = Field(
        25, ge=1, le=500, description="Steps after which a task with a planner (task v2) stops (MAX_STEPS_PER_TASK_V2)."
    )
    max_run_minutes: int = Field(
        240,
        ge=1,
        le=480,
        description="Minutes after which a workflow's run is ended, unless the workflow or the run has a limit "
        "(`max_elapsed_time_minutes`, up to 480).",
    )
    schedule_poll_seconds: int = Field(
        15,
        ge=1,
        le=3600,
        description="How often the server looks for schedules that are due: a run begins so much later at most.",
    )
    schedule_max_runs: int = Field(
        1000,
        ge=1,
        le=100000,
        description="Scheduled runs that wait or go on at once; those that are due besides wait without being queued. "
        "Skyvern's own default of 1 lets one long run hold up all other schedules.",
    )
    max_upload_mib: int = Field(
        30,
        ge=1,
        le=512,
        description="Largest file that a person or a program uploads, in MiB. Cloudflare has its own limit: 100 MB with the "
        "plans free and pro, 200 MB with business.",
    )
    max_download_mib: int = Field(
        500,
        ge=1,
        le=1024,
        description="Largest file that a block fetches by its address, in MiB. It is kept in memory meanwhile: this and "
        "`max_upload_mib` have to fit into the 768 of 1024 MiB of `/tmp` that are not the browsers', and count as memory.",
    )
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
        "`llm.base_url`, `browser.url`, `smtp.host`, `storage.endpoint`, `database.url` and `host.proxy` need no entry. "
        "Skyvern's own validation of URLs still applies.",
        examples=["[192.168.1.20:587, host:5678]"],
    )

    @property
    def runs_at_once(self) -> int:
        """``max_runs``, or what the memory has room for: 640 MiB a run beside 1536 for Skyvern, temporary files and a session."""
        return self.max_runs or max(1, (self.memory_mib - 1536) // 640)

    @property
    def sessions_at_once(self) -> int:
        """``max_sessions``, or a quarter of the runs."""
        return self.max_sessions or max(1, self.runs_at_once // 4)

    @property
    def browser_process_mib(self) -> int:
        """What a process of a browser may allocate: half of what the memory has beside Skyvern, so that the other runs go on.

        640 are added: a tab of Chromium 156 has so much of writable mappings before a page is in it, of which it uses a tenth.
        """
        return 640 + max(1024, (self.memory_mib - 1536) // 2)


Days = Annotated[int | None, Field(ge=1, le=36500, examples=["null"])]


class RetentionSettings(Section):
    """Days after which files of finished runs are removed; `null` keeps them for ever, as Skyvern by itself does."""

    artifacts: Days = Field(90, description="Screenshots, recordings and logs of runs, as the UI shows them.")
    downloads: Days = Field(30, description="Files that runs downloaded.")
    logs: Days = Field(14, description="HAR files (whole requests, cookies among them) and log files.")
    videos: Days = Field(30, description="Raw videos of the browser.")
