"""What the program registers: read off the wire, per element, for the default settings."""

import json
from typing import Any

import pytest
from pydantic import SecretStr

from components.host import labels
from components.host.volumes import SERVED_FOLDERS, SKYVERN_FOLDERS
from components.settings import AnthropicLlm, GeminiLlm, Llm, OllamaLlm, OpenAiCompatibleLlm, OpenAiLlm, Settings
from tests.support import program
from tests.support.program import Program, Secret, plain

CONTAINER = "docker:index/container:Container"
PARTS = {"artifacts", "egress", "firewall", "gateway", "postgres", "retention", "roles", "server", "smoke-site"}
# Folders whose old files are removed.
AGEING = {"artifacts", "downloads", "har", "log", "videos"}


@pytest.fixture(scope="module")
def dev() -> Program:
    return program.run(Settings())


def networks(dev: Program, part: str) -> set[str]:
    return {one["name"].removeprefix("skyvern-dev-") for one in dev.container(part).inputs.get("networksAdvanced", [])}


def test_the_containers(dev: Program) -> None:
    assert {one.inputs["hostname"] for one in dev.of_type(CONTAINER)} == PARTS
    assert plain(dev.outputs["containers"]) == {part: f"skyvern-dev-{part}" for part in PARTS}


@pytest.mark.parametrize("part", sorted(PARTS))
def test_every_container_is_hardened(dev: Program, part: str) -> None:
    sent = dev.container(part).inputs
    assert sent["readOnly"] is True
    assert sent["privileged"] is False
    firewall = part == "firewall"
    assert sent["capabilities"] == {"drops": ["ALL"], **({"adds": ["CAP_NET_ADMIN"]} if firewall else {})}
    assert (sent["networkMode"] == "host") is firewall
    # Only the server has a profile of its own (tests/unit/images/test_browsers.py); everybody else has Docker's.
    assert [option for option in sent["securityOpts"] if part != "server" or not option.startswith("seccomp={")] == [
        "no-new-privileges:true"
    ]
    assert sent["user"] == "0:0" if firewall else sent["user"].split(":")[0] not in {"", "0", "root"}
    assert sent["memory"] == sent["memorySwap"] > 0
    assert float(sent["cpus"]) > 0
    assert sent["init"] is True
    assert sent["restart"] == "unless-stopped"
    assert sent["logOpts"] == {"max-file": "3", "max-size": "10m"}
    assert sent["healthcheck"]["tests"][0] == "CMD"
    assert sent["wait"] is True
    assert sent["waitTimeout"] > 0
    assert ":latest" not in sent["image"]
    assert "@sha256:" in sent["image"] or sent["image"].startswith("localhost/skyvern/")
    assert {label["label"] for label in sent["labels"]} - {labels.ENVIRONMENT} == {"skyvern.part", "skyvern.stack"}


def test_only_the_gateway_is_published_and_only_on_loopback(dev: Program) -> None:
    published = {one.inputs["hostname"]: one.inputs["ports"] for one in dev.of_type(CONTAINER) if one.inputs.get("ports")}
    assert published == {"gateway": [{"ip": "127.0.0.1", "external": 8080, "internal": 8080, "protocol": "tcp"}]}


def test_who_shares_a_network_with_whom(dev: Program) -> None:
    assert {part: networks(dev, part) for part in PARTS} == {
        "artifacts": {"files"},
        "egress": {"outgoing", "browsing", "smoke"},
        "firewall": set(),
        "gateway": {"edge", "app", "files"},
        "postgres": {"data"},
        "retention": set(),
        "roles": set(),
        "server": {"outgoing", "app", "data", "browsing"},
        "smoke-site": {"smoke"},
    }
    internal = {one.inputs["name"]: one.inputs["internal"] for one in dev.of_type("docker:index/network:Network")}
    assert {name for name, closed in internal.items() if not closed} == {"skyvern-dev-edge", "skyvern-dev-outgoing"}


def test_secrets_are_the_only_secret_elements(dev: Program) -> None:
    secret = {part: {key for key, value in dev.environment(part).items() if isinstance(value, Secret)} for part in sorted(PARTS)}
    assert secret == {
        "artifacts": set(),
        "egress": set(),
        "firewall": set(),
        "gateway": {"ARTIFACT_LINK_KEY", "SKYVERN_API_KEY", "SMOKE_API_KEY", "UI_LOGIN_SHA256"},
        "postgres": {"POSTGRES_PASSWORD"},
        "retention": set(),
        "roles": {"PGPASSWORD", "ROLE_PASSWORD"},
        "server": {
            "ARTIFACT_LINK_KEY",
            "DATABASE_STRING",
            "ENCRYPTOR_AES_SECRET_KEY",
            "LOCAL_CREDENTIAL_VAULT_KEY",
            "SECRET_KEY",
            "SKYVERN_API_KEY",
            "SMOKE_API_KEY",
        },
        "smoke-site": set(),
    }


def test_a_container_with_secrets_says_what_else_it_is_given(dev: Program) -> None:
    """In a label, because the provider makes one secret of the whole list."""
    with_secrets = set()
    for container in dev.of_type(CONTAINER):
        said = {one["label"]: one["value"] for one in container.inputs["labels"]}
        environment = dev.environment(container.inputs["hostname"])
        if not any(isinstance(value, Secret) for value in environment.values()):
            assert labels.ENVIRONMENT not in said
            continue
        with_secrets.add(container.inputs["hostname"])
        told = labels.parse_environment_label(said[labels.ENVIRONMENT])
        assert told == {key: None if isinstance(value, Secret) else value for key, value in environment.items()}
    assert with_secrets == {"gateway", "postgres", "roles", "server"}


def test_no_generated_secret_is_sent_in_clear(dev: Program) -> None:
    values = {plain(value) for part in PARTS for value in dev.environment(part).values() if isinstance(value, Secret)} | {
        plain(dev.outputs["api_key"]),
        plain(dev.outputs["smoke_api_key"]),
        plain(dev.outputs["ui_password"]),
    }

    def clear(value: Any) -> list[str]:
        if isinstance(value, Secret):
            return []
        if isinstance(value, dict):
            return [text for item in value.values() for text in clear(item)]
        if isinstance(value, list):
            return [text for item in value for text in clear(item)]
        return [str(value)]

    sent = "\n".join(text for one in dev.registrations for text in clear(one.inputs))
    assert [value for value in values if value in sent] == []


def test_what_must_not_be_lost_is_protected(dev: Program) -> None:
    assert {one.name.split("-", 2)[-1] for one in dev.registrations if one.protect} == {
        "superuser",
        "secret-key",
        "organization",
        "smoke-organization",
        "vault-key",
        "encryption-key",
        "data-postgres",
        *(f"data-{folder}" for folder in SKYVERN_FOLDERS),
    }


def test_each_data_volume_has_one_writer(dev: Program) -> None:
    writers: dict[str, list[str]] = {}
    for container in dev.of_type(CONTAINER):
        for mount in container.inputs.get("volumes", []):
            if not mount["readOnly"]:
                writers.setdefault(mount["volumeName"], []).append(container.inputs["hostname"])
    # The socket is no data: both of PostgreSQL's containers need it.
    assert sorted(writers.pop("skyvern-dev-postgres-socket")) == ["postgres", "roles"]
    # Retention only removes, and only what has not been written for days.
    assert {volume.removeprefix("skyvern-dev-") for volume, who in writers.items() if "retention" in who} == AGEING
    rest = {volume: [one for one in who if one != "retention"] for volume, who in writers.items()}
    assert {volume: len(who) for volume, who in rest.items()} == dict.fromkeys(writers, 1)
    assert set(writers) == {"skyvern-dev-postgres", *(f"skyvern-dev-{folder}" for folder in SKYVERN_FOLDERS)}


def test_retention_sees_no_credential_and_no_profile(dev: Program) -> None:
    retention = dev.container("retention").inputs
    assert retention["networkMode"] == "none"
    assert dev.environment("retention")["RETENTION"].split() == [
        "/data/artifacts=90",
        "/data/downloads=30",
        "/data/har=14",
        "/data/log=14",
        "/data/videos=30",
    ]
    # An empty volume takes over the owner of the folder in the image, so it has to be the one that writes.
    assert retention["image"] == dev.container("server").inputs["image"]
    assert retention["user"] == dev.container("server").inputs["user"]


def test_what_is_kept_for_ever_is_not_mounted() -> None:
    run = program.run(Settings.model_validate({"retention": {"logs": None, "artifacts": None, "videos": 7}}))
    mounted = {mount["volumeName"] for mount in run.container("retention").inputs["volumes"]}
    assert mounted == {"skyvern-dev-downloads", "skyvern-dev-videos"}
    assert run.environment("retention")["RETENTION"] == "/data/downloads=30 /data/videos=7"


def test_nothing_to_remove_needs_no_container() -> None:
    for_ever = dict.fromkeys(("artifacts", "downloads", "logs", "videos"))
    run = program.run(Settings.model_validate({"retention": for_ever}))
    assert {one.inputs["hostname"] for one in run.of_type(CONTAINER)} == PARTS - {"retention"}
    assert set(run.outputs["containers"]) == PARTS - {"retention"}


def test_har_files_and_credentials_are_served_to_nobody(dev: Program) -> None:
    mounted = {mount["volumeName"] for mount in dev.container("artifacts").inputs["volumes"]}
    assert mounted == {f"skyvern-dev-{folder}" for folder in SERVED_FOLDERS}
    assert not mounted & {"skyvern-dev-har", "skyvern-dev-credential-vault", "skyvern-dev-browser-sessions"}


def test_the_settings_of_skyvern_that_matter(dev: Program) -> None:
    environment = dev.environment("server")
    assert environment["ENV"] == "selfhosted"
    assert json.loads(environment["ALLOWED_ORIGINS"]) == ["http://localhost:8080"]
    assert json.loads(environment["ALLOWED_HOSTS"]) == ["smoke-site"]
    assert environment["ENABLE_URL_VALIDATION"] == "true"
    assert environment["LOG_RAW_API_REQUESTS"] == "false"
    assert environment["SKYVERN_TELEMETRY"] == "false"
    assert environment["CODE_BLOCK_MODE"] == "disabled"
    assert environment["BROWSER_STREAMING_MODE"] == dev.environment("gateway")["VITE_BROWSER_STREAMING_MODE"] == "cdp"
    assert json.loads(environment["BROWSER_ADDITIONAL_ARGS"])[:2] == [
        "--proxy-server=http://egress:3128",
        "--proxy-bypass-list=<-loopback>",
    ]
    assert {environment[variable] for variable in SKYVERN_FOLDERS.values()} == {
        mount["containerPath"] for mount in dev.container("server").inputs["volumes"]
    }


@pytest.mark.parametrize(
    ("llm", "expected"),
    [
        (
            OpenAiLlm(provider="openai", api_key=SecretStr("sk-number-1")),
            {"LLM_KEY": "OPENAI_GPT4O_MINI", "SECONDARY_LLM_KEY": "OPENAI_GPT4O_MINI", "OPENAI_API_KEY": Secret("sk-number-1")},
        ),
        (
            AnthropicLlm(provider="anthropic", api_key=SecretStr("sk-number-2"), key="ANTHROPIC_CLAUDE4.5_SONNET"),
            {"LLM_KEY": "ANTHROPIC_CLAUDE4.5_SONNET", "ANTHROPIC_API_KEY": Secret("sk-number-2"), "ENABLE_ANTHROPIC": "true"},
        ),
        (
            GeminiLlm(provider="gemini", api_key=SecretStr("sk-number-3"), key="GEMINI_2.5_FLASH"),
            {"LLM_KEY": "GEMINI_2.5_FLASH", "GEMINI_API_KEY": Secret("sk-number-3"), "ENABLE_GEMINI": "true"},
        ),
        (
            OpenAiCompatibleLlm(
                provider="openai-compatible",
                api_key=SecretStr("sk-number-4"),
                base_url="https://x.example/v1/",
                model="qwen",
                vision=True,
            ),
            {
                "LLM_KEY": "OPENAI_COMPATIBLE",
                "OPENAI_COMPATIBLE_API_BASE": "https://x.example/v1",
                "OPENAI_COMPATIBLE_API_KEY": Secret("sk-number-4"),
                "OPENAI_COMPATIBLE_SUPPORTS_VISION": "true",
            },
        ),
        (
            OllamaLlm(provider="ollama", model="llava:7b"),
            {
                "ENABLE_OLLAMA": "true",
                "LLM_KEY": "OLLAMA",
                "OLLAMA_MODEL": "llava:7b",
                "OLLAMA_SERVER_URL": "http://ollama:11434",
                "OLLAMA_SUPPORTS_VISION": "true",
            },
        ),
    ],
)
def test_a_language_model_becomes_its_variables(llm: Llm, expected: dict[str, Any]) -> None:
    environment = program.run(Settings(llm=llm)).environment("server")
    assert {key: environment[key] for key in expected} == expected


# Each has a variable as its default (kreuzwerker/terraform-provider-docker, internal/provider/provider.go).
FROM_THE_SHELL = ("context", "certPath", "caMaterial", "certMaterial", "keyMaterial")


def test_the_plan_has_one_provider_and_it_names_the_daemon(dev: Program) -> None:
    (provider,) = dev.of_type("pulumi:providers:docker")
    assert provider.inputs["host"] == "unix:///var/run/docker.sock"
    docker = [one for one in dev.registrations if one.type.startswith("docker:")]
    assert {one.provider.split("::")[-2] for one in docker} == {"skyvern-host-daemon"}


def test_the_shell_has_no_say_in_which_daemon_it_is(dev: Program) -> None:
    """F02: what is left out, the provider takes from the shell, and its DOCKER_CONTEXT goes before the host."""
    (provider,) = dev.of_type("pulumi:providers:docker")
    assert {name: plain(provider.inputs[name]) for name in FROM_THE_SHELL} == dict.fromkeys(FROM_THE_SHELL, "")


def test_an_epoch_changes_its_own_secret_only(dev: Program) -> None:
    def keepers(run: Program) -> dict[str, str]:
        passwords = run.of_type("random:index/randomPassword:RandomPassword")
        return {one.name: one.inputs["keepers"]["epoch"] for one in passwords if one.inputs.get("keepers")}

    rotated = program.run(Settings.model_validate({"rotation": {"database": 2}}))
    changed = {name for name, epoch in keepers(rotated).items() if keepers(dev)[name] != epoch}
    assert changed == {"skyvern-secrets-database"}


def test_two_stacks_share_no_name() -> None:
    def names(run: Program) -> set[str]:
        return {one.inputs["name"] for one in run.registrations if one.type.startswith("docker:index/")}

    assert not names(program.run(Settings(), stack="dev")) & names(program.run(Settings(), stack="prod"))
