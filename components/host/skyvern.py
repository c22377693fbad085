"""Skyvern: the API and the browsers it drives."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pulumi

from components import endpoints
from components.addresses import network
from components.endpoints import Endpoints
from components.host.service import DockerEngine, Engine, HardenedService, Health, ServiceArgs
from components.host.volumes import SKYVERN_FOLDERS, DataVolumes, folder_path
from components.settings import (
    AnthropicLlm,
    Browser,
    CdpBrowser,
    GeminiLlm,
    Llm,
    OllamaLlm,
    OpenAiCompatibleLlm,
    OpenAiLlm,
    S3Storage,
    ServerSettings,
    SmtpSettings,
    Storage,
    split_destination,
)

# User and group in the image; the folders below /data belong to both.
SKYVERN_ID = 10001

# Docker's seccomp profile with the system calls of Chromium's sandbox (docs/decisions/browser-sandbox.md).
PROFILE = Path(__file__).with_name("browser-seccomp.json")
# Everything the browser fetches goes through the egress proxy: no exception for loopback, no UDP around it. These flags are the
# second barrier: a browser of the stack has no other network (images/server/sandboxed). Chromium 156 knows only the first
# spelling of the last flag, chrome-headless-shell only the second, and each ignores what it does not know.
BROWSER_ARGUMENTS = (
    f"--proxy-server={endpoints.EGRESS_URL}",
    "--proxy-bypass-list=<-loopback>",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
)


@cache
def sandbox_profile() -> str:
    """The profile on one line, as the daemon takes it."""
    return json.dumps(json.loads(PROFILE.read_text()), separators=(",", ":"))


def browser_environment(browser: Browser, server: ServerSettings) -> dict[str, pulumi.Input[str]]:
    """Skyvern's variables for the browser that it starts, or for the Chrome that it connects to."""
    if isinstance(browser, CdpBrowser):
        host_header = {} if browser.host_header is None else {"BROWSER_REMOTE_DEBUGGING_HOST_HEADER": browser.host_header}
        return {"BROWSER_REMOTE_DEBUGGING_URL": browser.url, "BROWSER_TYPE": "cdp-connect", **host_header}
    return {
        "BROWSER_ADDITIONAL_ARGS": json.dumps(BROWSER_ARGUMENTS),
        "BROWSER_LOCALE": browser.locale,
        # Ours: images/server/sandboxed.
        "BROWSER_PROCESS_MIB": str(server.browser_process_mib),
        # Ours, not Skyvern's: images/server/skyvern-start tries the sandbox and images/server/sandboxed keeps it.
        "BROWSER_SANDBOX": str(browser.sandbox).lower(),
        "BROWSER_TYPE": f"chromium-{browser.type}",
    }


def allowed_hosts(browser: Browser) -> list[str]:
    """Hosts of ``browser.allow`` as Skyvern's check of URLs compares them: names and single addresses, without ports (1.0.56)."""
    hosts: set[str] = set()
    for host, _ in map(split_destination, browser.allow):
        addresses = network(host)
        hosts |= {host} if addresses is None else {str(address) for address in addresses}
    return sorted(hosts)


def llm_environment(llm: Llm) -> dict[str, pulumi.Input[str]]:
    """Skyvern's variables for a language model. The API key is a secret output; an empty LLM_KEY means none."""
    match llm:
        case OpenAiLlm():
            return {
                **_models(llm),
                "ENABLE_OPENAI": "true",
                "OPENAI_API_KEY": pulumi.Output.secret(llm.api_key.get_secret_value()),
                "SECONDARY_LLM_KEY": llm.secondary_key or llm.key,
            }
        case AnthropicLlm():
            return {
                **_models(llm),
                "ANTHROPIC_API_KEY": pulumi.Output.secret(llm.api_key.get_secret_value()),
                "ENABLE_ANTHROPIC": "true",
            }
        case GeminiLlm():
            return {
                **_models(llm),
                "ENABLE_GEMINI": "true",
                "GEMINI_API_KEY": pulumi.Output.secret(llm.api_key.get_secret_value()),
            }
        case OpenAiCompatibleLlm():
            return {
                "ENABLE_OPENAI_COMPATIBLE": "true",
                "LLM_KEY": "OPENAI_COMPATIBLE",
                "OPENAI_COMPATIBLE_API_BASE": llm.base_url,
                "OPENAI_COMPATIBLE_API_KEY": pulumi.Output.secret(llm.api_key.get_secret_value()),
                "OPENAI_COMPATIBLE_MODEL_NAME": llm.model,
                "OPENAI_COMPATIBLE_SUPPORTS_VISION": str(llm.vision).lower(),
            }
        case OllamaLlm():
            return {
                "ENABLE_OLLAMA": "true",
                # Three times the default: without a GPU, reading one page takes minutes.
                "LLM_CONFIG_TIMEOUT": "900",
                "LLM_KEY": "OLLAMA",
                "OLLAMA_MODEL": llm.model,
                "OLLAMA_SERVER_URL": endpoints.OLLAMA_URL,
                "OLLAMA_SUPPORTS_VISION": str(llm.reads_screenshots).lower(),
            }
        case _:
            return {"LLM_KEY": ""}


def _models(llm: OpenAiLlm | AnthropicLlm | GeminiLlm) -> dict[str, pulumi.Input[str]]:
    """The model for everything, and those for single kinds of calls."""
    secondary = {} if llm.secondary_key is None else {"SECONDARY_LLM_KEY": llm.secondary_key}
    return {"LLM_KEY": llm.key, **secondary, **{f"{kind.upper()}_LLM_KEY": key for kind, key in llm.keys.items()}}


def smtp_environment(smtp: SmtpSettings) -> dict[str, pulumi.Input[str]]:
    """Skyvern's variables for the mail server, and two of images/server/approval_mail.py; none without a mail server."""
    internal = {"ALLOW_SMTP_INTERNAL_HOSTS": "true"} if smtp.internal else {}
    if smtp.host is None or smtp.username is None or smtp.password is None:
        return {**internal}
    return {
        **internal,
        "SMTP_HOST": smtp.host,
        "SMTP_PASSWORD": pulumi.Output.secret(smtp.password.get_secret_value()),
        "SMTP_PORT": str(smtp.port),
        "SMTP_SENDER": smtp.sender or smtp.username,
        "SMTP_USERNAME": smtp.username,
        "SMTP_VERIFY": str(smtp.verify).lower(),
    }


def storage_environment(storage: Storage) -> dict[str, pulumi.Input[str]]:
    """Skyvern's variables for where files of runs are kept, and those of the AWS library in it."""
    if not isinstance(storage, S3Storage):
        return {"SKYVERN_STORAGE_TYPE": "local"}
    # Of S3 alone: a workflow may ask for other services of AWS.
    endpoint = {} if storage.endpoint is None else {"AWS_ENDPOINT_URL_S3": storage.endpoint}
    return {
        **endpoint,
        "AWS_ACCESS_KEY_ID": storage.access_key_id,
        "AWS_REGION": storage.region,
        # Since botocore 1.36 each upload has a checksum at its end, which other services refuse or store with the file.
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        "AWS_S3_BUCKET_ARTIFACTS": storage.bucket("artifacts"),
        "AWS_S3_BUCKET_BROWSER_SESSIONS": storage.bucket("browser-sessions"),
        "AWS_S3_BUCKET_SCREENSHOTS": storage.bucket("screenshots"),
        "AWS_S3_BUCKET_UPLOADS": storage.bucket("uploads"),
        "AWS_SECRET_ACCESS_KEY": pulumi.Output.secret(storage.secret_access_key.get_secret_value()),
        "SKYVERN_STORAGE_TYPE": "s3",
    }


@dataclass(frozen=True, kw_only=True)
class SkyvernServerArgs:
    """Inputs of Skyvern.

    image: ours, by the hash of its context.
    endpoints: the public addresses, for CORS and for links.
    database_url: SQLAlchemy URL; secret.
    secret_key: signs API keys; a change makes every key invalid. api_key, smoke_api_key: adopted at every start.
    vault_key: Fernet key, for credentials. encryption_key: for other secrets in the database; a change makes both unreadable.
    link_key: signs links to files; a change makes every link invalid.
    networks: app (gateway), data (PostgreSQL), browsing (egress proxy), outgoing (LLMs, webhooks), llm (Ollama).
    command, outgoing_environment: with a company's proxy or certificates (host/outgoing.py); None for the image's own.
    engine: what runs it.
    """

    prefix: str
    image: str
    endpoints: Endpoints
    settings: ServerSettings
    browser: Browser
    timezone: str
    llm: Llm
    smtp: SmtpSettings
    storage: Storage
    database_url: pulumi.Input[str]
    secret_key: pulumi.Input[str]
    api_key: pulumi.Input[str]
    smoke_api_key: pulumi.Input[str]
    link_key: pulumi.Input[str]
    vault_key: pulumi.Input[str]
    encryption_key: pulumi.Input[str]
    networks: list[pulumi.Output[str]]
    command: Sequence[pulumi.Input[str]] | None
    outgoing_environment: Mapping[str, pulumi.Input[str]]
    engine: Engine = field(default_factory=DockerEngine)


class SkyvernServer(pulumi.ComponentResource):
    """Skyvern, migrated and with the stack's API key adopted before it is healthy.

    It runs as one process by design (browsers, caches and the scheduler live in it), so there is no replica count. Its calls to
    LLMs and webhooks leave directly, under Skyvern's own URL validation; the browser has the egress proxy only. A Chrome
    elsewhere (cdp-connect) is reached by the same network, and has the proxy by its own command line.
    Not here: Xvfb, migrations and key adoption (the image's start command), retention of recordings.
    """

    def __init__(
        self, name: str, args: SkyvernServerArgs, volumes: DataVolumes, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("skyvern:host:SkyvernServer", name, None, opts)
        service = HardenedService(
            f"{name}-server",
            ServiceArgs(
                part="server",
                prefix=args.prefix,
                image=args.image,
                user=f"{SKYVERN_ID}:{SKYVERN_ID}",
                command=args.command,
                environment=self._environment(args),
                networks=args.networks,
                mounts=volumes.mounts(*SKYVERN_FOLDERS),
                # Browser profiles and unfinished page recordings are here, in memory and within the limit.
                tmpfs={"/tmp": 1024, "/home/skyvern": 256},  # noqa: S108
                executable_tmp=True,
                memory_mib=args.settings.memory_mib,
                cpus=args.settings.cpus,
                shm_mib=512,
                seccomp=None if isinstance(args.browser, CdpBrowser) or not args.browser.sandbox else sandbox_profile(),
                # Three hundred migrations at the first start take a minute on a small machine.
                health=Health(command=["skyvern-healthy"], start_seconds=300, timeout_seconds=10),
                # Runs in progress end first, or are ended (images/server/drain.py); then recordings are saved.
                stop_seconds=60 * args.settings.drain_minutes + 60,
                engine=args.engine,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_name = service.container_name
        self.register_outputs({})

    @staticmethod
    def _environment(args: SkyvernServerArgs) -> Mapping[str, pulumi.Input[str]]:
        paths = {variable: folder_path(folder) for folder, variable in SKYVERN_FOLDERS.items()}
        # Of one Chrome, two at once would drive the same page.
        shared = isinstance(args.browser, CdpBrowser)
        runs, sessions = (1, 1) if shared else (args.settings.runs_at_once, args.settings.sessions_at_once)
        return {
            **paths,
            **browser_environment(args.browser, args.settings),
            **llm_environment(args.llm),
            **smtp_environment(args.smtp),
            **storage_environment(args.storage),
            **args.outgoing_environment,
            # An exact list: a "*" in it opens the API to every page and discards the rest (1.0.56, skyvern/cors.py).
            "ALLOWED_ORIGINS": json.dumps([args.endpoints.app_url]),
            "ALLOWED_HOSTS": json.dumps([endpoints.SMOKE_HOST, *allowed_hosts(args.browser)]),
            # The default lets anyone with a session token add a model at any address, and read the answer in a run's output.
            "ALLOW_CUSTOM_LLM_LOCAL_API_BASES": "false",
            # Read by images/server/artifact_links.py, and taken out of the environment with the other secrets.
            "ARTIFACT_LINK_KEY": args.link_key,
            # Any workflow may name a secret of AWS; on a cloud machine, the library would ask for it with the machine's role.
            "AWS_EC2_METADATA_DISABLED": "true",
            # vnc is the default, has no password and never worked behind a proxy (Skyvern issue 2968).
            "BROWSER_STREAMING_MODE": "cdp",
            "BROWSER_TIMEZONE": args.timezone,
            "CODE_BLOCK_MODE": "enabled" if args.settings.code_blocks else "disabled",
            "DATABASE_STRING": args.database_url,
            # Ours, as are those of the gate: images/server/drain.py and run_gate.py.
            "DRAIN_SECONDS": str(60 * args.settings.drain_minutes),
            # Otherwise passwords in workflows (object storage, SFTP, mail) are in plain text in the database and in each backup.
            "ENABLE_ENCRYPTION": "true",
            "ENCRYPTOR_AES_SECRET_KEY": args.encryption_key,
            # Without it the vault is off wherever ENV is not "local".
            "ENABLE_LOCAL_CREDENTIAL_VAULT": "true",
            "ENABLE_URL_VALIDATION": "true",
            # Part of artifact paths, so it never changes; "local" would mean reload on change and /internal routes.
            "ENV": "selfhosted",
            "HOME": "/home/skyvern",
            "JSON_LOGGING": "true",
            # Otherwise it fetches a price list from the internet at every start.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "CRITICAL",
            "LOCAL_CREDENTIAL_VAULT_KEY": args.vault_key,
            "LOG_LEVEL": args.settings.log_level,
            # On by default, and it prints the parameters of runs, passwords among them.
            "LOG_RAW_API_REQUESTS": "false",
            "MAX_HTTP_DOWNLOAD_FILE_SIZE": str(args.settings.max_download_mib << 20),
            "MAX_STEPS_PER_RUN": str(args.settings.max_steps),
            "MAX_STEPS_PER_TASK_V2": str(args.settings.max_planned_steps),
            "MAX_UPLOAD_FILE_SIZE": str(args.settings.max_upload_mib << 20),
            "PORT": str(endpoints.SERVER_PORT),
            "RUN_GATE_MAX_RUNS": str(runs),
            "RUN_GATE_MAX_SESSIONS": str(sessions),
            "SECRET_KEY": args.secret_key,
            "SKYVERN_API_KEY": args.api_key,
            "SKYVERN_APP_URL": args.endpoints.app_url,
            # The default is the vendor's cloud, which links and callbacks would then point at.
            "SKYVERN_BASE_URL": args.endpoints.api_url,
            "SKYVERN_TELEMETRY": "false",
            # Ours, not Skyvern's: images/server/smoke_organization.py.
            "SMOKE_API_KEY": args.smoke_api_key,
            "TZ": args.timezone,
            # Ours: a constant of Skyvern's, which images/server/run_time_limit.py sets.
            "WORKFLOW_RUN_DEFAULT_MAX_ELAPSED_TIME_MINUTES": str(args.settings.max_run_minutes),
            "WORKFLOW_SCHEDULE_MAX_CONCURRENT_RUNS": str(args.settings.schedule_max_runs),
            "WORKFLOW_SCHEDULE_POLL_INTERVAL_SECONDS": str(args.settings.schedule_poll_seconds),
        }
