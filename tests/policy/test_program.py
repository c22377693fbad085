"""The pack over what the program really registers: silent as it is, and loud when an argument of its hardening is missing."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi_cloudflare as cloudflare
import pulumi_docker as docker
import pulumiverse_vercel as vercel
import pytest
import yaml

from components import platform
from components.bucket import BackupBucket, BucketArgs
from components.host import external_postgres
from components.host.postgres import Access
from components.settings import DatabaseSettings, Settings, certificates, parse
from lab.standins.edge.certificates import Authority
from ops.paths import ROOT
from policy.rules.framework.evaluation import Report
from tests.policy import pack
from tests.policy.pack import TODAY, Sent, broken, levels, registered
from tests.support import program
from tests.support.automations import EXAMPLES
from tests.support.program import VERCEL

REMOVED = object()
# Argument of HardenedService's container -> what it is changed to, and who objects.
HARDENING: dict[str, tuple[Any, str]] = {
    "capabilities": (REMOVED, "docker-container-capabilities-dropped"),
    "cpus": (REMOVED, "docker-container-cpu-limited"),
    "healthcheck": (REMOVED, "docker-container-health-checked"),
    "image": ("postgres:latest", "docker-container-image-pinned"),
    # Left out, the daemon's default counts, which is private.
    "ipc_mode": ("host", "docker-container-ipc-namespace-own"),
    "log_opts": (REMOVED, "docker-container-logs-rotated"),
    "memory": (REMOVED, "docker-container-memory-limited"),
    "memory_swap": (REMOVED, "docker-container-swap-limited"),
    "name": (REMOVED, "stack-name-own"),
    "network_mode": (REMOVED, "docker-container-network-user-defined"),
    # Left out, it is off.
    "privileged": (True, "docker-container-unprivileged"),
    "read_only": (REMOVED, "docker-container-root-read-only"),
    "restart": (REMOVED, "docker-container-restarted"),
    "security_opts": (REMOVED, "docker-container-no-new-privileges"),
    "user": (REMOVED, "docker-container-user-not-root"),
    "wait": (REMOVED, "docker-container-health-awaited"),
    "gpus": ("all", "docker-container-gpus-granted"),
    "networks_advanced": (REMOVED, "stack-browser-egress-proxied"),
    "ports": ([docker.ContainerPortArgs(internal=5432, external=5432)], "docker-container-ports-on-loopback"),
    "volumes": (
        [docker.ContainerVolumeArgs(host_path="/var/run/docker.sock", container_path="/x")],
        "docker-container-docker-socket-unmounted",
    ),
    "envs": (["ALLOWED_ORIGINS=*"], "docker-container-origins-exact"),
}
# What a container is and how it starts and stops: nothing that hardens it.
REST = {
    "command",
    # In place of cpus; the rule asks for one of the two.
    "cpu_shares",
    "destroy_grace_seconds",
    "entrypoints",
    "hostname",
    "init",
    "labels",
    "log_driver",
    "must_run",
    "shm_size",
    "stop_timeout",
    "tmpfs",
    "wait_timeout",
}


def committed(stack: str) -> Settings:
    """A stack's committed file, with what its owner adds."""
    raw = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    sections = {key.removeprefix("skyvern:"): value for key, value in raw.items()}
    if sections["llm"]["provider"] != "none":
        sections["llm"]["api_key"] = "sk-of-the-owner-1234567890"
    if sections.get("edge", {}).get("provider") == "cloudflare":
        sections["edge"] |= {"domain": "example.com", "api_token": "tk_" + "of-the-owner-" * 4}
    if "backup" in sections:
        sections["backup"]["drilled"] = str(TODAY)
    return parse(sections, file=f"Pulumi.{stack}.yaml", secret_keys=frozenset({"llm", "edge"}))


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_committed_stacks_have_no_violation_and_no_exemption(stack: str) -> None:
    assert levels().exemptions == ()
    run = program.run(committed(stack), stack=stack)
    assert [report.message for report in judge(registered(run), stack=stack)] == []


@pytest.mark.parametrize(
    "more",
    [
        {"channels": "tgram://123456789:abcdefghijklmnop/12315544/"},
        {"heartbeat": "https://hc.example.com/0f1e", "metrics": True},
    ],
)
def test_a_monitor_with_all_it_can_have_has_no_violation(more: dict[str, Any]) -> None:
    settings = Settings.model_validate({"monitor": {"enabled": True, **more}})
    assert [report.message for report in judge(registered(program.run(settings, stack="prod")), stack="prod")] == []


# Whether somebody is told, which most stack files of these tests leave open.
TOLD = ("stack-alert-channel-present", "stack-heartbeat-outside")


def judge(resources: list[Sent], *, stack: str) -> list[Report]:
    """Every report but those about who is told."""
    return [report for report in pack.judge(resources, stack=stack) if report.rule.name not in TOLD]


def test_prod_is_advised_to_tell_somebody_until_it_does() -> None:
    def advised(sections: dict[str, Any], stack: str = "prod") -> list[tuple[str, str]]:
        reports = pack.judge(registered(program.run(Settings.model_validate(sections), stack=stack)), stack=stack)
        return [(report.rule.name, report.level) for report in reports]

    assert advised({}) == [(name, "advisory") for name in TOLD]
    assert advised({}, stack="dev") == []
    channels = {"monitor": {"enabled": True, "channels": "tgram://123456789:abcdefghijklmnop/12315544/"}}
    assert advised(channels) == [(TOLD[1], "advisory")]
    assert advised({**channels, "edge": {**CLOUDFLARE, "tunnel_alert_emails": ["ops@example.com"]}}) == []


CLOUDFLARE: dict[str, Any] = {"provider": "cloudflare", "domain": "example.com", "api_token": "tk_" + "of-the-owner-" * 4}
ACCESS: dict[str, Any] = {"access_team": "acme", "access_emails": ["ops@example.com"], "access_domains": ["example.com"]}
NGROK: dict[str, Any] = {"provider": "ngrok", "domain": "your-name.ngrok.app", "authtoken": "tk_" + "of-the-owner-" * 4}


def test_a_companys_network_has_no_violation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Authority(tmp_path)
    monkeypatch.setattr(certificates, "ROOT", tmp_path)
    company = {"proxy": "http://proxy.example.com:3128", "ca_file": "ca.pem"}
    settings = Settings.model_validate({"host": company, "edge": NGROK, "llm": {"provider": "ollama", "model": "llava:7b"}})
    assert [report.message for report in judge(registered(program.run(settings, stack="prod")), stack="prod")] == []


ELSEWHERE: dict[str, Any] = {
    "database": {"url": "postgresql://boss:correct-horse-battery@db.example.com/postgres?sslmode=verify-full"},
    "monitor": {"enabled": True},
    "backup": {"type": "path", "path": "/mnt/d/skyvern", "drilled": TODAY.isoformat()},
}


def test_a_postgresql_elsewhere_has_no_violation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Authority(tmp_path)
    monkeypatch.setattr(certificates, "ROOT", tmp_path)
    for more in ({}, {"ca_file": "ca.pem"}):
        settings = Settings.model_validate({**ELSEWHERE, "database": {**ELSEWHERE["database"], **more}})
        assert [report.message for report in judge(registered(program.run(settings, stack="prod")), stack="prod")] == []


def test_a_postgresql_elsewhere_without_a_checked_certificate_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = external_postgres.access

    def unchecked(prefix: str, settings: DatabaseSettings) -> Access:
        return replace(checked(prefix, settings), options={"port": "5432", "sslmode": "require"})

    monkeypatch.setattr(external_postgres, "access", unchecked)
    run = program.run(Settings.model_validate(ELSEWHERE), stack="prod")
    objections = [report.urn.rpartition("::")[2] for report in judge(registered(run), stack="prod")]
    clients = ("backup-restic", "monitor-pages", "postgres-roles", "skyvern-server")
    assert sorted(objections) == [f"skyvern-host-{client}" for client in clients]


def behind(edge: dict[str, Any], frontend: dict[str, Any] | None = None) -> Settings:
    """A stack file with an edge, and a frontend."""
    return Settings.model_validate({"edge": edge, **({} if frontend is None else {"frontend": frontend})})


@pytest.mark.parametrize(
    ("edge", "frontend"),
    [
        pytest.param(CLOUDFLARE, None, id="cloudflare"),
        pytest.param(CLOUDFLARE | ACCESS, None, id="access"),
        pytest.param(NGROK, None, id="ngrok"),
        pytest.param(CLOUDFLARE, VERCEL, id="vercel"),
        pytest.param(CLOUDFLARE, VERCEL | {"vercel_app": "acme-skyvern-ui"}, id="vercel.app"),
        pytest.param(CLOUDFLARE, VERCEL | {"source": "git", "repository": "acme/skyvern", "artifacts": False}, id="git"),
        pytest.param(CLOUDFLARE, VERCEL | {"verification": "vc-domain-verify=app.example.com,0123456789abcdef0123"}, id="txt"),
    ],
)
def test_every_edge_and_frontend_has_no_violation(edge: dict[str, Any], frontend: dict[str, Any] | None) -> None:
    run = program.run(behind(edge, frontend), stack="prod")
    assert [report.message for report in judge(registered(run), stack="prod")] == []


def with_automation(root: Path, text: str, monkeypatch: pytest.MonkeyPatch, **server: Any) -> list[str]:
    """The rules that refuse a stack with one automation and a login for it."""
    (root / "automations").mkdir()
    (root / "automations/one.yaml").write_text(text)
    monkeypatch.setattr(platform, "ROOT", root)
    login = {"tested_url": "https://nid.naver.com", "username": "shop", "password": "kZ8mQ2vT5xW1"}
    sections = {"automations": {"files": ["one"], "credentials": {"naver": login}}, "server": server}
    run = program.run(Settings.model_validate(sections), stack="prod")
    assert {"skyvern:index:Workflow", "skyvern:index:Credential"} <= {each.type for each in run.registrations}
    return broken(judge(registered(run), stack="prod"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_needs_code_blocks_and_breaks_no_other_rule(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "on").mkdir()
    assert with_automation(tmp_path / "on", example.read_text(), monkeypatch, code_blocks=True) == []
    (tmp_path / "off").mkdir()
    refused = [] if example.stem == "naver-blog-draft-prompts" else ["stack-workflow-code-allowed"]
    assert with_automation(tmp_path / "off", example.read_text(), monkeypatch) == refused


def test_each_rule_of_automations_finds_its_place_in_what_the_program_registers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
workflow:
  title: One
  webhook_callback_url: http://hooks.example.com
  max_elapsed_time_minutes: 480
  workflow_definition:
    parameters:
      - {parameter_type: workflow, key: publish, workflow_parameter_type: boolean, default_value: true}
    blocks:
      - {block_type: navigation, label: log_in, navigation_goal: "비밀번호: hunter2", max_steps_per_run: 500}
schedules:
  daily: {cron: "0 9 * * *", timezone: Europe/London, parameters: {publish: true}}
"""
    assert with_automation(tmp_path, text, monkeypatch) == [
        "skyvern-workflow-addresses-https",
        "skyvern-workflow-publishing-off",
        "skyvern-workflow-secrets-absent",
        "stack-schedule-zone-same",
        "stack-workflow-steps-bounded",
        "stack-workflow-time-bounded",
    ]


def test_a_private_site_that_pages_may_open_has_no_violation() -> None:
    """F09"""
    settings = Settings.model_validate({"browser": {"allow": ["wiki.example.com:443", "10.20.1.0/24:8443"]}})
    assert [report.message for report in judge(registered(program.run(settings, stack="prod")), stack="prod")] == []


def test_what_the_stack_file_leaves_to_the_zone_is_advisory() -> None:
    off = dict.fromkeys(("always_https", "firewall", "hsts", "min_tls_1_2", "rate_limit", "tls_1_3"), False)
    reports = judge(registered(program.run(behind(CLOUDFLARE | off), stack="prod")), stack="prod")
    zone = ("stack-zone-firewall-present", "stack-zone-https-set", "stack-zone-rate-limited", "stack-zone-tls-set")
    assert [(report.rule.name, report.level) for report in reports] == [
        (name, "advisory") for name in sorted(zone, key=[report.rule.name for report in reports].index)
    ]


# Resource and argument of the backups' bucket -> what it is changed to, and who objects.
BUCKET_HARDENING: list[tuple[str, str, Any, str]] = [
    ("R2Bucket", "opts", None, "cloudflare-bucket-protected"),
    ("R2BucketLock", "bucket_name", "another", "stack-bucket-locked"),
    ("R2BucketLock", "rules", [], "cloudflare-bucket-lock-append-only"),
    ("R2BucketLockRuleArgs", "prefix", "", "cloudflare-bucket-lock-append-only"),
    ("R2BucketLockRuleArgs", "enabled", False, "cloudflare-bucket-lock-lasting"),
    ("R2BucketLockRuleConditionArgs", "max_age_seconds", 3600, "cloudflare-bucket-lock-lasting"),
    ("AccountTokenPolicyArgs", "resources", '{"com.cloudflare.api.account.*": "*"}', "cloudflare-token-resources-named"),
    ("AccountTokenPolicyPermissionGroupArgs", "id", "b" * 32, "cloudflare-token-permissions-named"),
]


def bucket() -> list[Sent]:
    args = BucketArgs(account_id="a" * 32, name="acme-backup")
    run = program.run_program(lambda: BackupBucket("bucket", args).outputs, project="backup-bucket", stack="backup")
    return registered(run)


def test_the_backups_bucket_has_no_violation() -> None:
    assert [report.message for report in judge(bucket(), stack="backup")] == []


@pytest.mark.parametrize(
    ("kind", "argument", "changed", "rule"), BUCKET_HARDENING, ids=[f"{case[0]}-{case[1]}" for case in BUCKET_HARDENING]
)
def test_a_changed_argument_of_the_bucket_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: str, argument: str, changed: Any, rule: str
) -> None:
    original = getattr(cloudflare, kind)

    def construct(**named: Any) -> Any:
        # Of conditions, only those of an age have one.
        return original(**named) if argument not in named else changing(original, argument, changed)(**named)

    monkeypatch.setattr(cloudflare, kind, construct if kind.endswith("Args") else changing(original, argument, changed))
    assert rule in broken(judge(bucket(), stack="backup"))


# Resource and argument of the edge -> what it is changed to, and who objects.
EDGE_HARDENING: list[tuple[str, str, Any, str]] = [
    # Its token the SDK makes a secret whatever the program does.
    ("Provider", "base_url", "http://proxy.lan/client/v4", "cloudflare-provider-url-encrypted"),
    ("ZeroTrustTunnelCloudflared", "config_src", REMOVED, "cloudflare-tunnel-managed-remotely"),
    ("ZeroTrustTunnelCloudflared", "name", "skyvern", "stack-name-own"),
    ("ZeroTrustTunnelCloudflared", "tunnel_secret", "c2hvcnQ=", "cloudflare-tunnel-secret-long"),
    ("ZeroTrustTunnelCloudflaredConfig", "source", "local", "cloudflare-ingress-managed-remotely"),
    ("DnsRecord", "proxied", REMOVED, "cloudflare-record-proxied"),
    ("DnsRecord", "name", "elsewhere.example.com", "stack-ingress-host-recorded"),
    ("DnsRecord", "content", "other.cfargotunnel.com", "stack-ingress-host-recorded"),
    ("ZoneSetting", "value", "off", "cloudflare-zone-https-forced"),
    ("Ruleset", "rules", [{"action": "log", "expression": "true"}], "cloudflare-ruleset-rules-decide"),
    ("ZeroTrustAccessPolicy", "decision", "bypass", "cloudflare-access-decides"),
    ("ZeroTrustAccessPolicy", "includes", [{"everyone": {}}], "cloudflare-access-people-named"),
    ("ZeroTrustAccessApplication", "session_duration", "720h", "cloudflare-access-session-short"),
    ("ZeroTrustTunnelCloudflaredConfigConfigIngressArgs", "service", "http://server:8000", "stack-ingress-origin-gateway"),
    ("ZeroTrustTunnelCloudflaredConfigConfigIngressArgs", "hostname", "*.example.com", "cloudflare-ingress-hosts-named"),
    ("ZeroTrustTunnelCloudflaredConfigConfigIngressArgs", "origin_request", None, "stack-access-checked-at-origin"),
]


@pytest.mark.parametrize(
    ("kind", "argument", "changed", "rule"), EDGE_HARDENING, ids=[f"{case[0]}-{case[1]}" for case in EDGE_HARDENING]
)
def test_a_changed_argument_of_the_edge_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: str, argument: str, changed: Any, rule: str
) -> None:
    original = getattr(cloudflare, kind)

    def construct(*positional: Any, **named: Any) -> Any:
        # Of ingress rules, the last one has a service alone.
        if kind.endswith("Args") and "hostname" not in named:
            return original(*positional, **named)
        return changing(original, argument, changed)(*positional, **({argument: None} | named))

    monkeypatch.setattr(cloudflare, kind, construct)
    assert rule in broken(judge(registered(program.run(behind(CLOUDFLARE | ACCESS), stack="prod")), stack="prod"))


VERCEL_HARDENING: list[tuple[str, str, Any, str]] = [
    ("Project", "automatically_expose_system_environment_variables", REMOVED, "vercel-project-system-variables-hidden"),
    ("Project", "git_fork_protection", False, "vercel-project-forks-asked"),
    ("Project", "vercel_authentication", REMOVED, "vercel-project-deployments-authenticated"),
    ("ProjectDomain", "domain", "www.example.com", "stack-origins-served"),
    ("ProjectEnvironmentVariable", "sensitive", False, "vercel-variable-secret-sensitive"),
    ("ProjectEnvironmentVariable", "targets", ["production", "preview"], "vercel-variable-secret-production-only"),
    ("ProjectEnvironmentVariable", "value", "https://elsewhere.example.com", "stack-urls-served"),
    ("ProjectEnvironmentVariable", "key", "VITE_GATEWAY_KEY", "vercel-variable-client-public"),
]


@pytest.mark.parametrize(
    ("kind", "argument", "changed", "rule"), VERCEL_HARDENING, ids=[f"{case[0]}-{case[1]}" for case in VERCEL_HARDENING]
)
def test_a_changed_argument_at_vercel_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: str, argument: str, changed: Any, rule: str
) -> None:
    monkeypatch.setattr(vercel, kind, changing(getattr(vercel, kind), argument, changed))
    assert rule in broken(judge(registered(program.run(behind(CLOUDFLARE, VERCEL), stack="prod")), stack="prod"))


def test_a_login_that_is_left_out_at_vercel_is_named() -> None:
    sent = registered(program.run(behind(CLOUDFLARE, VERCEL), stack="prod"))
    without = [resource for resource in sent if resource.inputs.get("key") != "UI_LOGIN_SHA256"]
    assert broken(judge(without, stack="prod")) == ["stack-frontend-login-asked"]


def changing(original: Callable[..., Any], argument: str, value: Any) -> Callable[..., Any]:
    """A resource's constructor with one argument left out or changed."""

    def construct(*positional: Any, **named: Any) -> Any:
        assert argument in named, f"the program passes no {argument}"
        changed = {key: item for key, item in named.items() if key != argument}
        return original(*positional, **(changed if value is REMOVED else {**changed, argument: value}))

    return construct


@pytest.mark.parametrize(("argument", "changed", "rule"), [(name, *case) for name, case in HARDENING.items()], ids=HARDENING)
def test_a_missing_argument_of_the_hardening_is_named(
    monkeypatch: pytest.MonkeyPatch, argument: str, changed: Any, rule: str
) -> None:
    monkeypatch.setattr(docker, "Container", changing(docker.Container, argument, changed))
    assert rule in broken(judge(registered(program.run(Settings())), stack="dev"))


def test_every_argument_of_the_container_is_judged_or_known_to_be_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: set[str] = set()

    def construct(*positional: Any, **named: Any) -> Any:
        passed.update(named)
        return container(*positional, **named)

    container = docker.Container
    monkeypatch.setattr(docker, "Container", construct)
    program.run(Settings())
    assert passed - {"opts"} == set(HARDENING) | REST
    assert set(HARDENING) | REST <= set(inspect.signature(docker.ContainerArgs.__init__).parameters)


@pytest.mark.parametrize(
    ("kind", "argument", "value", "rule"),
    [
        ("Network", "internal", False, "docker-network-internal"),
        ("Network", "name", "skyvern", "stack-name-own"),
        ("Volume", "name", "skyvern", "stack-name-own"),
        ("Volume", "opts", None, "docker-volume-protected"),
        ("Provider", "host", None, "docker-provider-host-named"),
        ("Provider", "host", "tcp://10.0.0.1:2375", "docker-provider-host-encrypted"),
    ],
)
def test_a_changed_network_volume_or_daemon_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: str, argument: str, value: Any, rule: str
) -> None:
    monkeypatch.setattr(docker, kind, changing(getattr(docker, kind), argument, value))
    assert rule in broken(judge(registered(program.run(Settings())), stack="dev"))
