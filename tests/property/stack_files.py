"""Generated stack files: every section with values that are valid, alone and together."""

from typing import Any

from hypothesis import strategies as st

from components.settings import llm_keys
from components.settings.edge import OF_THE_ZONE
from tests.support.program import VERCEL

SECRETS = frozenset({"backup", "database", "llm", "edge", "frontend", "smtp", "storage"})
# With letters that no other generated text has: a model's name is drawn too, and may be the key's twin.
KEYS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=20, max_size=40).map("sk_{}".format)


def _models(known: frozenset[str]) -> dict[str, st.SearchStrategy[Any]]:
    """The optional keys that name further models."""
    model = st.sampled_from(sorted(known))
    return {"secondary_key": model, "keys": st.dictionaries(st.sampled_from(llm_keys.KINDS), model)}


STORES = st.just({"type": "local"}) | st.fixed_dictionaries(
    {
        "type": st.just("s3"),
        "buckets": st.sampled_from(["acme", "acme-skyvern-2"]),
        "access_key_id": st.just("AKIAIOSFODNN7EXAMPLE"),
        "secret_access_key": KEYS,
    },
    optional={
        "endpoint": st.sampled_from(["https://account.r2.cloudflarestorage.com", "http://10.0.0.3:9000", "https://nas.lan"]),
        "region": st.sampled_from(["auto", "ap-northeast-2"]),
    },
)

_RULES: dict[str, st.SearchStrategy[Any]] = {
    "every_hours": st.integers(1, 48),
    "drill_every_days": st.integers(0, 92),
    "max_age_hours": st.integers(1, 100),
    "keep_daily": st.integers(0, 60),
}
BACKUPS = st.one_of(
    st.just({"type": "none"}),
    st.fixed_dictionaries(
        {"type": st.just("path"), "path": st.sampled_from(["/mnt/d/skyvern-backup", "/var/backups/skyvern", "/srv/백업 1"])},
        optional=_RULES,
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("sftp"),
            "host": st.sampled_from(["nas.lan", "10.0.0.9", "backup.example.com"]),
            "user": st.just("backup"),
            "path": st.sampled_from(["skyvern", "/srv/skyvern"]),
            "known_host": st.just("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIabc"),
            "private_key": KEYS.map(lambda key: key * 6),
        },
        optional={**_RULES, "port": st.integers(1, 65535)},
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("s3"),
            "bucket": st.just("acme-skyvern-backup"),
            "access_key_id": st.just("AKIAIOSFODNN7EXAMPLE"),
            "secret_access_key": KEYS,
        },
        optional={
            **_RULES,
            "endpoint": st.sampled_from(["https://account.r2.cloudflarestorage.com", "http://10.0.0.3:9000", "https://nas.lan"]),
            "folder": st.sampled_from(["skyvern/prod", "prod"]),
        },
    ),
)

LLMS = st.one_of(
    st.just({"provider": "none"}),
    st.fixed_dictionaries(
        {"provider": st.just("openai"), "api_key": KEYS, "key": st.sampled_from(sorted(llm_keys.OPENAI))},
        optional=_models(llm_keys.OPENAI),
    ),
    st.fixed_dictionaries(
        {"provider": st.just("anthropic"), "api_key": KEYS, "key": st.sampled_from(sorted(llm_keys.ANTHROPIC))},
        optional=_models(llm_keys.ANTHROPIC),
    ),
    st.fixed_dictionaries(
        {"provider": st.just("gemini"), "api_key": KEYS, "key": st.sampled_from(sorted(llm_keys.GEMINI))},
        optional=_models(llm_keys.GEMINI),
    ),
    st.fixed_dictionaries(
        {
            "provider": st.just("openai-compatible"),
            "api_key": KEYS,
            "base_url": st.sampled_from(["https://llm.example.com/v1", "http://10.0.0.2:8000/v1"]),
            "model": st.text(alphabet="abcdef.-:0123456789", min_size=1),
        }
    ),
    st.fixed_dictionaries(
        {"provider": st.just("ollama"), "model": st.sampled_from(["qwen2.5:7b-instruct", "llava:7b", "hf.co/o/m-GGUF:Q4_K_M"])},
        optional={
            "vision": st.booleans(),
            "context_length": st.integers(2048, 131072),
            "keep_alive": st.sampled_from(["-1", "0", "5m", "1h"]),
            "memory_mib": st.integers(1024, 65536),
            "cpus": st.floats(0.5, 64, allow_nan=False),
            "gpu": st.booleans(),
        },
    ),
)
TOKENS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=40, max_size=60).map("tk_{}".format)
DOMAINS = st.sampled_from(["example.com", "skyvern.example.co.kr", "xn--3e0b707e.example"])
PLANS = st.sampled_from(
    [
        {"plan": "free"},
        {"plan": "pro", "rate_limit_period": 60, "rate_limit_timeout": 3600},
        {"plan": "business", "rate_limit_period": 600, "rate_limit_timeout": 86400, "rate_limit_requests": 1000},
    ]
)
# A stack alone in its zone, a cell, the zone's owner among cells, and a member of a zone, which has no say in the zone's rules.
CELLS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"cell": "shop"},
        {"cells": ["shop", "blog"]},
        {"cell": "shop", "cells": ["blog-2"]},
        {"cell": "shop", "zone_owner": False},
    ]
)


def in_zone(base: dict[str, Any], plan: dict[str, Any], cells: dict[str, Any]) -> dict[str, Any]:
    """A section of the edge, without what only a zone's owner may write if it is not one."""
    edge = {**base, **plan, **cells}
    return {key: value for key, value in edge.items() if cells.get("zone_owner", True) or key not in OF_THE_ZONE}


CLOUDFLARE = st.builds(
    in_zone,
    st.fixed_dictionaries(
        {"provider": st.just("cloudflare"), "domain": DOMAINS, "api_token": TOKENS},
        optional={
            **{switch: st.booleans() for switch in ("always_https", "hsts", "min_tls_1_2", "tls_1_3", "firewall", "rate_limit")},
            "firewall_ruleset_id": st.just("f" * 32),
            "tunnel_alert_emails": st.just(["ops@example.com"]),
            "tunnel_alert_webhooks": st.just(["e" * 32]),
            "protocol": st.sampled_from(["auto", "quic", "http2"]),
            "memory_mib": st.integers(64, 1024),
            "connector_image": st.just("localhost/mine/connector:1"),
        },
    ),
    PLANS,
    CELLS,
)
NGROK = st.fixed_dictionaries(
    {"provider": st.just("ngrok"), "domain": st.just("your-name.ngrok.app"), "authtoken": TOKENS},
    optional={"connector_image": st.just("localhost/mine/connector:1")},
)
ACCESS = {"access_team": "acme", "access_emails": ["ops@example.com"], "access_domains": ["example.com"]}


def shared(file: dict[str, Any]) -> dict[str, Any]:
    """A stack file in which one Chrome has one run and one session at once."""
    if file.get("browser", {}).get("type") != "cdp-connect":
        return file
    given = file.get("server", {})
    return {**file, "server": given | {key: 1 for key in ("max_runs", "max_sessions") if given.get(key)}}


def reached(file: dict[str, Any], pair: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """A stack file with an edge and a frontend that go with the rest of it."""
    edge, frontend = pair
    if edge["provider"] == "cloudflare" and file.get("host", {}).get("proxy"):
        edge = {**edge, "past_proxy": True}
    if file.get("images", {}).get("source") == "packages" and edge["provider"] != "none":
        edge = {**edge, "connector_image": "localhost/mine/connector:1"}
    return {**file, "edge": edge, "frontend": frontend}


FRONTENDS = st.builds(
    lambda plan, source, given: {**VERCEL, **plan, **source, **given},
    st.sampled_from([{}, {"plan": "hobby", "non_commercial": True}]),
    st.sampled_from([{}, {"source": "git", "repository": "acme/skyvern-stack", "branch": "feature/x"}]),
    st.fixed_dictionaries(
        {},
        optional={
            "artifacts": st.booleans(),
            "region": st.sampled_from(["icn1", "iad1"]),
            "project": st.just("a-project"),
            "vercel_app": st.just("acme-ui"),
        },
    ),
)
EDGES = st.one_of(
    st.tuples(st.just({"provider": "none"}), st.just({"provider": "gateway"})),
    st.tuples(NGROK, st.just({"provider": "gateway"})),
    st.tuples(CLOUDFLARE.map(lambda edge: {**edge, **ACCESS}) | CLOUDFLARE, st.just({"provider": "gateway"})),
    st.tuples(CLOUDFLARE, FRONTENDS),
)
BROWSERS = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["headless", "headful"]),
            "locale": st.sampled_from(["ko-KR", "en-US", "zh-Hant-TW"]),
            "sandbox": st.booleans(),
        },
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("cdp-connect"),
            "url": st.sampled_from(
                ["http://10.222.222.1:9222/", "http://host.docker.internal:9222", "https://[2001:db8::1]:443"]
            ),
        },
        # Below the ports of the gateway that are drawn.
        optional={"host_header": st.just("10.222.222.1:9222"), "proxy_port": st.integers(1024, 4999)},
    ),
)
MAIL = st.fixed_dictionaries(
    {
        "host": st.sampled_from(["smtp.example.com", "mail.lan", "10.1.2.3", "93.184.216.34", "fd00::5"]),
        "username": st.just("approvals@example.com"),
        "password": KEYS,
    },
    optional={
        "port": st.sampled_from([25, 465, 587]),
        "sender": st.just("approvals+skyvern@example.com"),
        "verify": st.booleans(),
        "internal": st.booleans(),
    },
)
DATABASES = st.builds(
    lambda host, port, name: {"url": f"postgresql://boss:{'p' * 24}@{host}{port}{name}?sslmode=verify-full"},
    st.sampled_from(["db.example.com", "db.lan.example", "10.0.0.7", "93.184.216.34"]),
    st.sampled_from(["", ":5432", ":25060"]),
    st.sampled_from(["", "/", "/defaultdb"]),
) | st.fixed_dictionaries({}, optional={"memory_mib": st.integers(256, 4096), "cpus": st.sampled_from([0.5, 2.0])})
STACK_FILES = st.fixed_dictionaries(
    {},
    optional={
        "images": st.fixed_dictionaries({"source": st.sampled_from(["official", "packages"])}),
        "host": st.fixed_dictionaries(
            {},
            optional={
                "docker_host": st.sampled_from(
                    ["unix:///var/run/docker.sock", "unix:///run/user/1000/docker.sock", "ssh://deploy@host.example.com:2222"]
                ),
                "port": st.integers(5000, 65535),
                "timezone": st.sampled_from(["Asia/Seoul", "UTC", "America/New_York", "Etc/GMT+9"]),
                "proxy": st.sampled_from(["http://proxy.example.com:3128", "http://10.0.0.9:8080/", "http://[fd00::9]:3128"]),
            },
        ),
        "server": st.fixed_dictionaries(
            {},
            optional={
                "memory_mib": st.integers(1536, 65536),
                "cpus": st.floats(0.5, 64, allow_nan=False),
                "max_steps": st.integers(1, 200),
                "drain_minutes": st.integers(0, 120),
                "max_runs": st.none() | st.integers(1, 100),
                "max_sessions": st.none() | st.integers(1, 100),
                "max_planned_steps": st.integers(1, 500),
                "max_run_minutes": st.integers(1, 480),
                "schedule_poll_seconds": st.integers(1, 3600),
                "schedule_max_runs": st.integers(1, 100000),
                "max_upload_mib": st.integers(1, 94),
                "max_download_mib": st.integers(1, 674),
                "code_blocks": st.booleans(),
                "log_level": st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR"]),
            },
        ),
        "browser": BROWSERS,
        "rotation": st.dictionaries(
            st.sampled_from(["database", "api_key", "ui_login", "gateway", "tunnel"]), st.integers(1, 10**6)
        ),
        "deployment": st.dictionaries(st.just("only_from_main"), st.none() | st.booleans()),
        "retention": st.dictionaries(
            st.sampled_from(["artifacts", "downloads", "logs", "videos"]), st.none() | st.integers(1, 36500)
        ),
        "llm": LLMS,
        "smtp": MAIL,
        "storage": STORES,
        "backup": BACKUPS,
        "database": DATABASES,
        "monitor": st.fixed_dictionaries({"enabled": st.booleans()}),
    },
).map(shared)
STACK_FILES = st.builds(reached, STACK_FILES, EDGES) | STACK_FILES
