"""The schema of the stack file: each mistake gives its one line."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime import config as runtime_config

from components import settings
from components.settings import OllamaLlm, OpenAiLlm, Settings, SettingsError, VercelFrontend, certificates, llm_keys, parse
from lab.standins.edge.certificates import Authority
from ops.errors import UserError
from ops.paths import ROOT
from ops.stack import file
from tests.support.program import SMTP, VERCEL

SECRET = "sk-live-1234567890"
STORE = {"type": "s3", "buckets": "acme", "access_key_id": "key", "secret_access_key": SECRET}
BUCKET = {"type": "s3", "bucket": "acme-backup", "access_key_id": "key", "secret_access_key": SECRET}
SFTP = {
    "type": "sftp",
    "host": "nas.example.com",
    "user": "backup",
    "path": "skyvern",
    "known_host": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIabc",
    "private_key": SECRET * 10,
}
CHROME = "http://10.222.222.1:9222/"


TOKEN = "t" * 40


def cloudflare(**keys: Any) -> dict[str, Any]:
    """A stack file's edge section, right but for the keys."""
    return {"edge": {"provider": "cloudflare", "domain": "example.com", "api_token": TOKEN, **keys}}


def vercel(**keys: Any) -> dict[str, Any]:
    """A stack file's edge and frontend sections, right but for the keys of the frontend; None leaves one out."""
    return {**cloudflare(), "frontend": {key: value for key, value in (VERCEL | keys).items() if value is not None}}


def lines(raw: dict[str, Any], *, secret_keys: frozenset[str] = frozenset({"llm", "edge", "frontend", "smtp"})) -> list[str]:
    with pytest.raises(SettingsError) as wrong:
        parse(raw, file="Pulumi.prod.yaml", secret_keys=secret_keys)
    return wrong.value.lines


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"hosts": {}}, "hosts: unknown key; write `host`"),
        (
            {"zzz": {}},
            "zzz: unknown key; known here: "
            "automations, backup, browser, database, deployment, edge, frontend, host, images, llm, monitor, retention, "
            "rotation, server, smtp, storage",
        ),
        ({"host": {"prt": 8080}}, "host.prt: unknown key; write `port`"),
        ({"host": 8080}, "host: 8080 is not a section; write its keys below it (docs/configuration.md)"),
        (
            {"host": {"port": 80}},
            "host.port: 80 is wrong: input should be greater than or equal to 1024; write another value",
        ),
        (
            {"host": {"docker_host": "tcp://10.0.0.1:2375"}},
            'host.docker_host: "tcp://10.0.0.1:2375" is a TCP socket, which hands the whole machine to whoever reaches it; '
            "write unix:///path/to/docker.sock",
        ),
        (
            {"host": {"docker_host": "/var/run/docker.sock"}},
            'host.docker_host: "/var/run/docker.sock" is not a Docker socket; write unix:///var/run/docker.sock',
        ),
        (
            {"host": {"timezone": "Asia Seoul"}},
            'host.timezone: "Asia Seoul" is not a time zone; write a tz database name, for example Asia/Seoul',
        ),
        (
            {"host": {"timezone": "Asia/Soul"}},
            'host.timezone: "Asia/Soul" is not a time zone; write a tz database name, for example Asia/Seoul',
        ),
        (
            {"host": {"docker_host": "unix:///var/run/docker sock"}},
            'host.docker_host: "unix:///var/run/docker sock" is not a Docker socket; write unix:///var/run/docker.sock',
        ),
        ({"host": {"port": "8080"}}, 'host.port: "8080" is wrong: input should be a valid integer; write another value'),
        (
            {"server": {"code_blocks": "yes"}},
            'server.code_blocks: "yes" is wrong: input should be a valid boolean; write another value',
        ),
        (
            {"rotation": {"database": True}},
            "rotation.database: true is wrong: input should be a valid integer; write another value",
        ),
        (
            {"server": {"cpus": 0.001}},
            "server.cpus: 0.001 is wrong: input should be greater than or equal to 0.01; write another value",
        ),
        (
            {"llm": {"provider": "openai", "api_key": ""}},
            "llm.api_key: is too short for a key; write the whole key",
        ),
        (
            {"llm": {"provider": "openai", "api_key": SECRET, "secondary_key": ""}},
            'llm.secondary_key: "" is not an LLM key that Skyvern registers; write one that starts with OPENAI_, for example '
            "OPENAI_GPT-4O-2024-08-06",
        ),
        ({"backup": {"type": "tape"}}, 'backup.type: "tape" is not a type; write one of none, path, sftp, s3'),
        ({"backup": {}}, "backup.type: is missing; write one of none, path, sftp, s3"),
        ({"backup": {"type": "path"}}, "backup.path: is missing; write it below `backup`, for example /mnt/d/skyvern-backup"),
        (
            {"backup": {"type": "path", "path": "backup"}},
            'backup.path: "backup" is not a folder of the Docker host; write its whole path, for example /mnt/d/skyvern-backup',
        ),
        (
            {"backup": {"type": "path", "path": "/srv/../etc"}},
            'backup.path: "/srv/../etc" is not a folder of the Docker host; write its whole path, for example '
            "/mnt/d/skyvern-backup",
        ),
        (
            {"backup": {"type": "path", "path": "/"}},
            'backup.path: "/" is not a folder of the Docker host; write its whole path, for example /mnt/d/skyvern-backup',
        ),
        (
            {"backup": {"type": "path", "path": "/var/lib/docker/volumes/x"}},
            'backup.path: "/var/lib/docker/volumes/x" belongs to the system or to Docker, or is emptied; write a separate '
            "folder, such as /mnt/d/skyvern-backup",
        ),
        (
            {"backup": {"type": "path", "path": "/tmp"}},  # noqa: S108
            'backup.path: "/tmp" belongs to the system or to Docker, or is emptied; write a separate folder, such as '
            "/mnt/d/skyvern-backup",
        ),
        (
            {"backup": {**SFTP, "host": "backup@nas"}},
            'backup.host: "backup@nas" is not the name of a machine; write it in lower case, without user and port: '
            "nas.example.com",
        ),
        (
            {"backup": {**SFTP, "host": "127.0.0.1"}},
            'backup.host: "127.0.0.1" is the container itself; write the name or the address of the machine',
        ),
        ({"backup": {**SFTP, "private_key": "x"}}, "backup.private_key: is too short for a key; write the whole key"),
        (
            {"backup": {**BUCKET, "endpoint": "https://store.example.com/bucket"}},
            'backup.endpoint: "https://store.example.com/bucket" has a path; write the address alone, and the bucket\'s name in '
            "backup.bucket",
        ),
        ({"storage": {"type": "s4"}}, 'storage.type: "s4" is not a type; write one of local, s3'),
        (
            {"storage": {**STORE, "endpoint": "store.example.com"}},
            'storage.endpoint: "store.example.com" is not a URL; write it in full, for example '
            "https://ACCOUNT.r2.cloudflarestorage.com",
        ),
        (
            {"storage": {**STORE, "endpoint": "https://u:pw@store.example.com"}},
            "storage.endpoint: contains a user or password, which would be stored in plain text; remove it",
        ),
        (
            {"storage": {**STORE, "endpoint": "https://store.example.com/?key=pw"}},
            "storage.endpoint: has a query string, which would be stored in plain text; remove it",
        ),
        (
            {"storage": {**STORE, "endpoint": "https://store.example.com/bucket"}},
            'storage.endpoint: "https://store.example.com/bucket" has a path; write the address alone, and the buckets\' names '
            "in storage.buckets",
        ),
        (
            {"storage": {**STORE, "endpoint": "http://93.184.216.34:9000"}},
            'storage.endpoint: "http://93.184.216.34:9000" is on the internet without encryption; write https',
        ),
        (
            {"storage": {**STORE, "buckets": "Acme"}},
            r'storage.buckets: "Acme" does not match ^[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?$; write one, for example acme-skyvern',
        ),
        (
            {"storage": {**STORE, "region": "Seoul!"}},
            'storage.region: "Seoul!" does not match ^[a-z0-9-]{2,32}$; write one, for example ap-northeast-2',
        ),
        (
            {"storage": {**STORE, "access_key_id": "a key"}},
            'storage.access_key_id: "a key" does not match ^[A-Za-z0-9_.-]{3,128}$; write one, for example AKIAIOSFODNN7EXAMPLE',
        ),
        (
            {"storage": {**STORE, "secret_access_key": "x"}},
            "storage.secret_access_key: is too short for a key; write the whole key",
        ),
        (
            {"llm": {"provider": "openai", "api_key": SECRET, "keys": {"extracton": "OPENAI_GPT5_MINI"}}},
            "llm.keys: `extracton` is not a kind of call; write `extraction`",
        ),
        (
            {"llm": {"provider": "gemini", "api_key": SECRET, "key": "GEMINI_PRO", "keys": {"x": "GEMINI_PRO"}}},
            f"llm.keys: `x` is not a kind of call; write one of {', '.join(llm_keys.KINDS)}",
        ),
        (
            {"llm": {"provider": "anthropic", "api_key": SECRET, "key": "ANTHROPIC_CLAUDE4_OPUS", "keys": {"task_v3": "OPUS"}}},
            'llm.keys: `task_v3`: "OPUS" is not an LLM key that Skyvern registers; write one that starts with ANTHROPIC_, for '
            "example ANTHROPIC_CLAUDE4.5_HAIKU",
        ),
        (
            {"llm": {"provider": "openai", "api_key": SECRET, "keys": ["extraction"]}},
            "llm.keys: is not a section; write its keys below it (docs/configuration.md)",
        ),
        (
            {"llm": {"provider": "ollama", "model": "llava:7b", "keys": {"extraction": "OLLAMA"}}},
            "llm.keys: unknown key; known here: context_length, cpus, gpu, keep_alive, memory_mib, model, provider, vision",
        ),
        (
            {"server": {"max_upload_mib": 100, "max_download_mib": 700}},
            "server.max_download_mib: 700 and server.max_upload_mib: 100 are more than the 768 MiB that /tmp has for files; "
            "write 668 or less",
        ),
        (
            {**cloudflare(), "server": {"max_upload_mib": 100}},
            "server.max_upload_mib: 100 is more than Cloudflare's plan free lets through; write 94 or less",
        ),
        (
            {"server": {"max_run_minutes": 481}},
            "server.max_run_minutes: 481 is wrong: input should be less than or equal to 480; write another value",
        ),
        (
            {"server": {"schedule_poll_seconds": 0}},
            "server.schedule_poll_seconds: 0 is wrong: input should be greater than or equal to 1; write another value",
        ),
        (
            {"server": {"schedule_max_runs": 0}},
            "server.schedule_max_runs: 0 is wrong: input should be greater than or equal to 1; write another value",
        ),
        (
            {"server": {"max_planned_steps": 0}},
            "server.max_planned_steps: 0 is wrong: input should be greater than or equal to 1; write another value",
        ),
        (
            {"smtp": {**SMTP, "host": "localhost"}},
            'smtp.host: "localhost" is the container itself; write the name or the address of the mail server',
        ),
        (
            {"smtp": {**SMTP, "host": "::1"}},
            'smtp.host: "::1" is the container itself; write the name or the address of the mail server',
        ),
        (
            {"smtp": {**SMTP, "host": "smtp://smtp.example.com:587"}},
            'smtp.host: "smtp://smtp.example.com:587" is not the name of a server; write it in lower case, without scheme and '
            "port: smtp.example.com",
        ),
        ({"smtp": {**SMTP, "host": "10.0.0.0/8"}}, 'smtp.host: "10.0.0.0/8" is a network; write the address of the mail server'),
        (
            {"smtp": {**SMTP, "port": 0}},
            "smtp.port: 0 is wrong: input should be greater than or equal to 1; write another value, for example 465",
        ),
        (
            {"smtp": {**SMTP, "sender": "Approvals <a@example.com>"}},
            'smtp.sender: "Approvals <a@example.com>" is not a mail address; write one such as approvals@example.com',
        ),
        (
            {"smtp": {**SMTP, "username": "apikey"}},
            "smtp.sender: is missing, and smtp.username is not a mail address; write one such as approvals@example.com",
        ),
        (
            {"smtp": {"host": "smtp.example.com", "password": SECRET}},
            "smtp.username: is missing; write the name that the mail server knows, for example approvals@example.com",
        ),
        (
            {"smtp": {"host": "smtp.example.com", "username": "a@example.com"}},
            "smtp.password: is missing; set it with `pulumi config set --secret --path smtp.password -s prod`",
        ),
        (
            {"smtp": {"password": SECRET}},
            "smtp.host: is missing, and smtp.password is set; write the mail server, for example smtp.example.com",
        ),
        ({"smtp": {**SMTP, "password": ""}}, "smtp.password: is too short for a key; write the whole key"),
        (
            {"llm": {"provider": "openai-compatible", "api_key": SECRET, "base_url": "https://", "model": "m"}},
            'llm.base_url: "https://" is not a URL; write it in full, for example https://llm.example.com/v1',
        ),
        (
            {"llm": {"provider": "openai-compatible", "api_key": SECRET, "base_url": "https://u:pw@h/v1", "model": "m"}},
            "llm.base_url: contains a user or password, which would be stored in plain text; remove it",
        ),
        (
            {"llm": {"provider": "openai-compatible", "api_key": SECRET, "base_url": "ftp://u:pw@[h/v1", "model": "m"}},
            "llm.base_url: contains a user or password, which would be stored in plain text; remove it",
        ),
        (
            {"llm": {"provider": "openai-compatible", "api_key": SECRET, "base_url": "https://h:99999/v1", "model": "m"}},
            'llm.base_url: "https://h:99999/v1" is not a URL; write it in full, for example https://llm.example.com/v1',
        ),
        (
            {"llm": {"provider": "openai-compatible", "api_key": SECRET, "base_url": "https://h/v1?key=pw", "model": "m"}},
            "llm.base_url: has a query string, which would be stored in plain text; remove it",
        ),
        ({"images": {"source": "hub"}}, "images.source: \"hub\" is not possible here; write 'official' or 'packages'"),
        (
            {"browser": {"locale": "korean"}},
            'browser.locale: "korean" does not match ^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?$; write one, for example en-US',
        ),
        ({"browser": {"type": "chrome"}}, 'browser.type: "chrome" is not a type; write one of headless, headful, cdp-connect'),
        ({"browser": {"type": None}}, "browser.type: is missing; write one of headless, headful, cdp-connect"),
        ({"browser": "headful"}, 'browser: "headful" is not a section; write its keys below it (docs/configuration.md)'),
        ({"browser": {"url": CHROME}}, "browser.url: unknown key; known here: allow, locale, sandbox, type"),
        (
            {"browser": {"type": "cdp-connect"}},
            "browser.url: is missing; write it below `browser`, for example http://10.222.222.1:9222/",
        ),
        (
            {"browser": {"type": "cdp-connect", "url": CHROME, "locale": "ko-KR"}},
            "browser.locale: unknown key; known here: allow, host_header, proxy_port, type, url",
        ),
        (
            {"browser": {"type": "cdp-connect", "url": "10.222.222.1:9222"}},
            'browser.url: "10.222.222.1:9222" is not a URL; write it in full, for example http://10.222.222.1:9222/',
        ),
        (
            {"browser": {"type": "cdp-connect", "url": "http://10.222.222.1:92222"}},
            'browser.url: "http://10.222.222.1:92222" is not a URL; write it in full, for example http://10.222.222.1:9222/',
        ),
        (
            {"browser": {"type": "cdp-connect", "url": "ws://10.222.222.1:9222/devtools/browser/1"}},
            'browser.url: "ws://10.222.222.1:9222/devtools/browser/1" is not a URL; write it in full, for example '
            "http://10.222.222.1:9222/",
        ),
        (
            {"browser": {"type": "cdp-connect", "url": "http://10.222.222.1/"}},
            'browser.url: "http://10.222.222.1/" has no port; write Chrome\'s debugging port, for example http://10.222.222.1:9222/',
        ),
        (
            {"browser": {"type": "cdp-connect", "url": "http://10.222.222.1:9222/json/version"}},
            'browser.url: "http://10.222.222.1:9222/json/version" has a path; write host and port alone, for example '
            "http://10.222.222.1:9222/",
        ),
        (
            {"browser": {"type": "cdp-connect", "url": "http://127.0.0.1:9222"}},
            'browser.url: "http://127.0.0.1:9222" is the container itself; write the address of Chrome\'s machine, for example '
            "http://10.222.222.1:9222/",
        ),
        (
            {"browser": {"type": "cdp-connect", "url": "http://me:secret@10.222.222.1:9222"}},
            "browser.url: contains a user or password, which Chrome does not use; remove it",
        ),
        (
            {"browser": {"type": "cdp-connect", "url": CHROME, "host_header": "localhost"}},
            'browser.host_header: "localhost" does not match ^[0-9A-Fa-f.:\\[\\]]+:[0-9]{1,5}$; write one, for example '
            "10.222.222.1:9222",
        ),
        (
            {"browser": {"type": "cdp-connect", "url": CHROME, "proxy_port": 8080}},
            "browser.proxy_port: 8080 is also host.port; write another port",
        ),
        *(
            (
                {"browser": {"type": "cdp-connect", "url": CHROME}, "server": {key: 2}},
                f"server.{key}: 2 would share the one Chrome of browser.type: cdp-connect; write 1, or remove it",
            )
            for key in ("max_runs", "max_sessions")
        ),
        (
            {"server": {"max_runs": 0}},
            "server.max_runs: 0 is wrong: input should be greater than or equal to 1; write another value, for example 8",
        ),
        (
            {"server": {"drain_minutes": 121}},
            "server.drain_minutes: 121 is wrong: input should be less than or equal to 120; write another value",
        ),
        ({"llm": {}}, "llm.provider: is missing; write one of none, openai, anthropic, gemini, openai-compatible, ollama"),
        (
            {"llm": {"provider": "gpt"}},
            'llm.provider: "gpt" is not a provider; write one of none, openai, anthropic, gemini, openai-compatible, ollama',
        ),
        (
            {"llm": {"provider": "openai"}},
            "llm.api_key: is missing; set it with `pulumi config set --secret --path llm.api_key -s prod`",
        ),
        (
            {"llm": {"provider": "openai", "api_key": SECRET, "key": "OPENAI_GPT4OMINI"}},
            'llm.key: "OPENAI_GPT4OMINI" is not an LLM key that Skyvern registers; write one that starts with OPENAI_, '
            "for example OPENAI_GPT4O_MINI",
        ),
        (
            {"llm": {"provider": "openai-compatible", "api_key": SECRET, "base_url": "llm:1", "model": "m"}},
            'llm.base_url: "llm:1" is not a URL; write it in full, for example https://llm.example.com/v1',
        ),
        (
            {"llm": {"provider": "ollama"}},
            "llm.model: is missing; write it below `llm`, for example qwen2.5:7b-instruct",
        ),
        (
            {"llm": {"provider": "ollama", "model": "qwen2.5"}},
            'llm.model: "qwen2.5" has no tag, so it could be another model tomorrow; write one, for example qwen2.5:7b-instruct',
        ),
        (
            {"llm": {"provider": "ollama", "model": "--help"}},
            'llm.model: "--help" is not a model name; write it as on ollama.com/library, for example qwen2.5:7b-instruct',
        ),
        (
            {"llm": {"provider": "ollama", "model": "llava:7b", "keep_alive": "5 minutes"}},
            'llm.keep_alive: "5 minutes" does not match ^(-1|0|[1-9][0-9]*[smh])$; write one, for example 1h',
        ),
        # Docker would get 0, which is no limit.
        (
            {"llm": {"provider": "ollama", "model": "llava:7b", "cpus": 0.001}},
            "llm.cpus: 0.001 is wrong: input should be greater than or equal to 0.01; write another value",
        ),
        (
            {"llm": {"provider": "ollama", "model": "llava:7b", "context_length": 512}},
            "llm.context_length: 512 is wrong: input should be greater than or equal to 2048; write another value",
        ),
        (
            {"rotation": {"database": 0}},
            "rotation.database: 0 is wrong: input should be greater than or equal to 1; write another value",
        ),
        (
            {"host": {"docker_host": "ssh://host.example.com"}},
            'host.docker_host: "ssh://host.example.com" is not an SSH address of a Docker host; write ssh://user@host or '
            "ssh://user@host:port",
        ),
        (
            {"host": {"docker_host": "ssh://deploy:hunter2@host"}},
            "host.docker_host: holds a password, and SSH needs a key; write ssh://user@host",
        ),
        ({"edge": {}}, "edge.provider: is missing; write one of none, cloudflare, ngrok"),
        ({"edge": {"provider": "aws"}}, 'edge.provider: "aws" is not a provider; write one of none, cloudflare, ngrok'),
        ({"frontend": {"provider": "x"}}, 'frontend.provider: "x" is not a provider; write one of gateway, vercel'),
        (
            {"frontend": {"provider": "gateway", "artifacts": False}},
            "frontend.artifacts: unknown key; known here: language, provider",
        ),
        (
            {"frontend": {"provider": "gateway", "language": "kr"}},
            "frontend.language: \"kr\" is not possible here; write 'en', 'ko' or 'browser'",
        ),
        (
            {"edge": {"provider": "cloudflare", "api_token": TOKEN}},
            "edge.domain: is missing; write it below `edge`, for example example.com",
        ),
        (
            {"edge": {"provider": "cloudflare", "domain": "example.com"}},
            "edge.api_token: is missing; set it with `pulumi config set --secret --path edge.api_token -s prod`",
        ),
        (
            cloudflare(domain="https://example.com"),
            'edge.domain: "https://example.com" is a URL; write the bare domain, for example example.com',
        ),
        (
            cloudflare(domain="example.com:443"),
            'edge.domain: "example.com:443" is a URL; write the bare domain, for example example.com',
        ),
        (
            cloudflare(domain="Example"),
            'edge.domain: "Example" is not a domain; use lower case without scheme or path, for example example.com',
        ),
        (
            cloudflare(domain="dev1.example.com"),
            'edge.domain: "dev1.example.com" has "v1" in it, which Skyvern\'s UI takes for the version in its URLs; use another '
            "domain",
        ),
        (
            cloudflare(cell="Shop"),
            'edge.cell: "Shop" is not the name of a cell; write lower case letters, digits and single hyphens, for example shop',
        ),
        (
            cloudflare(cell="xn--shop"),
            'edge.cell: "xn--shop" is not the name of a cell; write lower case letters, digits and single hyphens, for example '
            "shop",
        ),
        (
            cloudflare(cell="s" * 55),
            f'edge.cell: "{"s" * 55}" is too long for a host such as NAME-artifact, which has 63 characters at most; write 54 or '
            "less",
        ),
        (
            cloudflare(cell="shop-v1"),
            'edge.cell: "shop-v1" has "v1" in it, which Skyvern\'s UI takes for the version in its URLs; write another name',
        ),
        (
            cloudflare(cell="api"),
            'edge.cell: "api" is the name of a host of every stack; write another name, for example shop',
        ),
        (
            cloudflare(cell="s" * 54, domain=".".join(["d" * 60] * 3) + ".example"),
            f'edge.cell: "{"s" * 54}" makes hosts of 254 characters with edge.domain, and DNS takes 253; write a shorter name',
        ),
        (
            cloudflare(cells=["shop", "-"]),
            'edge.cells: "-" is not the name of a cell; write lower case letters, digits and single hyphens, for example shop',
        ),
        (
            cloudflare(cell="shop", cells=["shop"]),
            'edge.cells: "shop" is this stack\'s own cell, which its rules cover; remove it',
        ),
        (cloudflare(cells=["shop", "shop"]), 'edge.cells: "shop" is written twice; remove one'),
        (
            cloudflare(zone_owner=False),
            "edge.zone_owner: false is for a cell beside others in the zone, and a stack without one keeps the zone; remove it, "
            "or write edge.cell for a stack that is new: it renames all hosts of another (docs/scale.md)",
        ),
        (
            cloudflare(cell="shop", zone_owner=False, hsts=True),
            "edge.hsts: is about the whole zone, and edge.zone_owner is false; write it for the stack that owns the zone",
        ),
        (
            cloudflare(cell="shop", zone_owner=False, cells=["blog"]),
            "edge.cells: is about the whole zone, and edge.zone_owner is false; write it for the stack that owns the zone",
        ),
        (cloudflare(api_token="abc"), "edge.api_token: is too short for a key; write the whole key"),
        (cloudflare(api_token="a" * 81), "edge.api_token: is too long for a key; write the whole key"),
        (
            cloudflare(api_token="Bearer " + "a" * 40),
            "edge.api_token: is not a Cloudflare API token; write it as the dashboard showed it",
        ),
        (
            cloudflare(plan="enterprise"),
            "edge.plan: \"enterprise\" is not possible here; write 'free', 'pro' or 'business'",
        ),
        (
            cloudflare(rate_limit_period=60),
            "edge.rate_limit_period: 60 is more than the plan free allows; write 10 or less",
        ),
        (
            cloudflare(plan="pro", rate_limit_period=60, rate_limit_timeout=86400),
            "edge.rate_limit_timeout: 86400 is more than the plan pro allows; write 3600 or less",
        ),
        (
            cloudflare(firewall_ruleset_id="mine"),
            'edge.firewall_ruleset_id: "mine" does not match ^[0-9a-f]{32}$; write one, for example '
            "2f2feab2026849078ba485f918791bdc",
        ),
        (
            cloudflare(access_team="acme"),
            "edge.access_team: would admit no one; set edge.access_emails or edge.access_domains as well",
        ),
        (
            cloudflare(access_emails=["a@example.com"]),
            "edge.access_team: is missing; write the NAME of NAME.cloudflareaccess.com, for example example",
        ),
        (
            cloudflare(tunnel_alert_emails=["ops"]),
            'edge.tunnel_alert_emails: "ops" is not an email address; write one, for example ops@example.com',
        ),
        (
            cloudflare(tunnel_alert_webhooks=["https://hooks.example.com/1"]),
            'edge.tunnel_alert_webhooks: "https://hooks.example.com/1" is not the id of a webhook, which has 32 hex digits '
            "(docs/cloudflare.md)",
        ),
        (
            cloudflare(access_team="acme", access_emails=["ops"]),
            'edge.access_emails: "ops" is not an email address; write one, for example ops@example.com',
        ),
        (
            cloudflare(access_team="acme", access_domains=["@example.com"]),
            'edge.access_domains: "@example.com" is not a mail domain; write one, for example example.com',
        ),
        (
            {**cloudflare(access_team="acme", access_emails=["a@example.com"]), "frontend": VERCEL},
            "edge.access_team: guards the UI on this host, and the UI is on Vercel; remove it",
        ),
        (
            cloudflare(connector_image="cloudflare/cloudflared:latest"),
            'edge.connector_image: "cloudflare/cloudflared:latest" has no digest, so it could be another image tomorrow; write '
            "NAME@sha256:… or localhost/NAME:TAG",
        ),
        (
            {"images": {"source": "packages"}, **cloudflare()},
            'images.source: "packages" has no connector: neither cloudflared nor ngrok can be built from packages; write '
            "official, or name your own image in edge.connector_image",
        ),
        (
            {"frontend": VERCEL},
            'frontend.provider: "vercel" reaches this host through a Cloudflare Tunnel, and edge.provider is "none"; write '
            "gateway, or edge.provider: cloudflare",
        ),
        (
            vercel(api_token=None),
            "frontend.api_token: is missing; set it with `pulumi config set --secret --path frontend.api_token -s prod`",
        ),
        (vercel(team=None), "frontend.team: is missing; write it below `frontend`, for example acme"),
        (vercel(plan=None), "frontend.plan: is missing; write it below `frontend`, for example pro"),
        (vercel(api_token="abc"), "frontend.api_token: is too short for a key; write the whole key"),
        (
            vercel(api_token="Bearer " + "a" * 24),
            "frontend.api_token: is not a Vercel token; write it as the dashboard showed it",
        ),
        (
            vercel(team="https://vercel.com/acme"),
            'frontend.team: "https://vercel.com/acme" does not match ^(team_[A-Za-z0-9]+|[a-z0-9]([a-z0-9-]*[a-z0-9])?)$; '
            "write one, for example acme",
        ),
        (
            vercel(plan="enterprise"),
            "frontend.plan: \"enterprise\" is not possible here; write 'hobby' or 'pro'",
        ),
        (
            vercel(plan="hobby"),
            'frontend.plan: "hobby" may not serve a business (Vercel\'s fair use guidelines); write pro, '
            "frontend.non_commercial: true where it serves none, or frontend.provider: gateway",
        ),
        (
            vercel(non_commercial=True),
            'frontend.non_commercial: is for the plan hobby, and frontend.plan is "pro"; remove it',
        ),
        (
            vercel(project="Skyvern"),
            'frontend.project: "Skyvern" does not match ^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$; write one, for example '
            "skyvern-prod",
        ),
        (
            vercel(region="seoul"),
            'frontend.region: "seoul" does not match ^[a-z]{3}[0-9]$; write one, for example hnd1',
        ),
        (
            vercel(source="git"),
            "frontend.repository: is missing; write OWNER/NAME of your own copy of this project, and install Vercel's app on it "
            "first (docs/vercel.md); or write frontend.source: upload",
        ),
        (
            vercel(repository="acme/skyvern-stack"),
            'frontend.repository: is for frontend.source: git, and that is "upload"; write git, or remove it',
        ),
        (
            vercel(source="git", repository="https://github.com/acme/x"),
            'frontend.repository: "https://github.com/acme/x" does not match ^[\\w.-]+(/[\\w.-]+)+$; write one, for '
            "example acme/skyvern-stack",
        ),
        (
            vercel(vercel_app="acme", verification="vc-domain-verify=a,1"),
            "frontend.verification: is for a domain, and frontend.vercel_app needs none; remove it",
        ),
        # What guides for Skyvern on Vercel set by hand.
        (
            vercel(VITE_SKYVERN_API_KEY=SECRET),
            "frontend.VITE_SKYVERN_API_KEY: would put the organisation's key into a file that anyone can read; remove it: "
            "the UI gets a session token after its login",
        ),
        (vercel(VITE_API_BASE_URL="https://x"), "frontend.VITE_API_BASE_URL: is made from edge.domain; remove it"),
        (
            vercel(VITE_ENABLE_CODE_BLOCK="true"),
            "frontend.VITE_ENABLE_CODE_BLOCK: is fixed in the published UI; write server.code_blocks",
        ),
        (
            {"edge": {"provider": "ngrok", "domain": "https://x.ngrok.app", "authtoken": TOKEN}},
            'edge.domain: "https://x.ngrok.app" is a URL; write the bare domain, for example example.com',
        ),
        # A key of another arm of the choice is refused instead of being ignored.
        ({"llm": {"provider": "none", "api_key": SECRET}}, "llm.api_key: unknown key; known here: provider"),
    ],
)
def test_each_mistake_has_its_line(raw: dict[str, Any], line: str) -> None:
    assert lines(raw) == [f"Pulumi.prod.yaml: {line}"]


def test_all_mistakes_at_once() -> None:
    assert len(lines({"host": {"port": 1}, "images": {"source": "x"}, "llm": {}})) == 3


def test_a_secret_in_plain_text_is_refused_without_showing_it() -> None:
    found = lines({"llm": {"provider": "openai", "api_key": SECRET}}, secret_keys=frozenset())
    assert found == [
        "Pulumi.prod.yaml: llm.api_key: is in plain text; set it with `pulumi config set --secret --path llm.api_key -s prod`"
    ]


@pytest.mark.parametrize(("stack", "named"), [("", "shop"), ("acme/shop", "acme/shop")])
def test_a_secret_is_set_in_the_stack_that_lacks_it(stack: str, named: str) -> None:
    """It went into the stack that happened to be selected; or below the section, in plain text."""
    cure = f"set it with `pulumi config set --secret --path llm.api_key -s {named}`"
    assert secret_lines("Pulumi.shop.yaml", stack) == {"is missing": cure, "is in plain text": cure}


def test_the_rehearsals_secrets_are_those_that_it_makes() -> None:
    cure = "run script/rehearse, which adds the tokens of edge and frontend, this stack's only secrets (docs/rehearsal.md)"
    assert secret_lines("Pulumi.rehearsal.yaml", "") == {"is missing": cure, "is in plain text": cure}


def secret_lines(file_name: str, stack: str) -> dict[str, str]:
    """What to do about an API key, by what is wrong with it: without one, and with one in plain text."""
    cures = {}
    for key in ({}, {"api_key": SECRET}):
        with pytest.raises(SettingsError) as wrong:
            parse({"llm": {"provider": "openai", **key}}, file=file_name, stack=stack)
        (line,) = wrong.value.lines
        fault, _, cure = line.removeprefix(f"{file_name}: llm.api_key: ").partition("; ")
        cures[fault] = cure
    return cures


@pytest.mark.parametrize(
    ("credentials", "line"),
    [
        ({"shop": SECRET}, "shop: is not a section; write its keys below it (docs/configuration.md)"),
        (
            {"Shop": {"type": "secret", "secret_value": SECRET}},
            "Shop: is not a name; write lower case letters, digits and hyphens",
        ),
        (
            {
                "card": {
                    "type": "credit_card",
                    "card_number": SECRET,
                    "card_cvv": "123",
                    "card_exp_month": "01",
                    "card_exp_year": 2030,
                    "card_brand": "visa",
                    "card_holder_name": "A",
                }
            },
            "card.card_exp_year: 2030 is not text; write it in quotes",
        ),
    ],
)
def test_a_wrong_credential_is_one_line_without_the_secret(credentials: dict[str, Any], line: str) -> None:
    """The first: `--path automations.credentials.shop`, without the key that the secret is for."""
    assert lines({"automations": {"credentials": credentials}}) == [f"Pulumi.prod.yaml: automations.credentials.{line}"]


@pytest.mark.parametrize("value", [12345678901234, ["sk-live-1234567890"], {"x": "sk-live-1234567890"}])
def test_a_wrong_secret_is_never_shown(value: Any) -> None:
    (line,) = lines({"llm": {"provider": "openai", "api_key": value}})
    assert line.startswith("Pulumi.prod.yaml: llm.api_key: ")
    (mail,) = lines({"smtp": {**SMTP, "password": value}})
    assert mail.startswith("Pulumi.prod.yaml: smtp.password: ")
    assert "1234567890" not in line + mail
    assert "1234567890" not in line


def test_every_variable_of_the_guide_has_an_answer() -> None:
    assert set(VercelFrontend.instead) == {
        *("VITE_API_BASE_URL", "VITE_WSS_BASE_URL", "VITE_ARTIFACT_API_BASE_URL", "VITE_BROWSER_STREAMING_MODE"),
        *("VITE_SKYVERN_API_KEY", "VITE_ENVIRONMENT", "VITE_ENABLE_LOG_ARTIFACTS", "VITE_ENABLE_CODE_BLOCK"),
    }
    for name in VercelFrontend.instead:
        (line,) = lines(vercel(**{name: SECRET}))
        assert line.startswith(f"Pulumi.prod.yaml: frontend.{name}: ")
        assert "unknown key" not in line
        assert SECRET not in line


def test_the_frontends_token_in_plain_text_is_refused() -> None:
    assert lines(vercel(), secret_keys=frozenset({"edge"})) == [
        "Pulumi.prod.yaml: frontend.api_token: is in plain text; set it with "
        "`pulumi config set --secret --path frontend.api_token -s prod`"
    ]


@pytest.mark.parametrize("token", ["a" * 24, "vcp_" + "A1" * 20, "a" * 24 + "-_"])
def test_tokens_of_every_age_are_taken(token: str) -> None:
    parse(vercel(api_token=token), file="x", secret_keys=frozenset({"edge", "frontend"}))


@pytest.mark.parametrize(
    ("edge", "key"),
    [
        (cloudflare(), "api_token"),
        ({"edge": {"provider": "ngrok", "domain": "x.ngrok.app", "authtoken": TOKEN}}, "authtoken"),
    ],
)
def test_an_edges_secret_in_plain_text_is_refused(edge: dict[str, Any], key: str) -> None:
    assert lines(edge, secret_keys=frozenset()) == [
        f"Pulumi.prod.yaml: edge.{key}: is in plain text; set it with `pulumi config set --secret --path edge.{key} -s prod`"
    ]


def test_an_image_of_ones_own_makes_up_for_a_connector_that_cannot_be_built() -> None:
    raw = {"images": {"source": "packages"}, **cloudflare(connector_image="localhost/mine/cloudflared:2026.9.3")}
    assert parse(raw, file="x", secret_keys=frozenset({"edge"})).images.source == "packages"


def test_defaults_deploy() -> None:
    assert parse({}, file="x") == Settings()


@pytest.mark.parametrize(
    ("server", "runs", "sessions"),
    [
        ({}, 4, 1),
        ({"memory_mib": 1536}, 1, 1),
        ({"memory_mib": 2816}, 2, 1),
        ({"memory_mib": 2815}, 1, 1),
        ({"memory_mib": 8192}, 10, 2),
        ({"memory_mib": 8192, "max_runs": 3}, 3, 1),
        ({"max_sessions": 7}, 4, 7),
    ],
)
def test_memory_decides_how_many_runs_there_are_at_once(server: dict[str, Any], runs: int, sessions: int) -> None:
    settings = parse({"server": server}, file="x").server
    assert (settings.runs_at_once, settings.sessions_at_once) == (runs, sessions)


def test_a_secret_is_read() -> None:
    llm = parse({"llm": {"provider": "openai", "api_key": SECRET}}, file="x", secret_keys=frozenset({"llm"})).llm
    assert isinstance(llm, OpenAiLlm)
    assert llm.api_key.get_secret_value() == SECRET
    assert SECRET not in repr(llm)


@pytest.mark.parametrize(
    ("model", "vision"),
    [
        ("llava:7b", True),
        ("llama3.2-vision:11b", True),
        ("qwen2.5vl:7b", True),
        ("gemma3:4b", True),
        ("minicpm-v:8b", True),
        ("moondream:1.8b", True),
        ("bakllava:7b", True),
        ("registry.example.com:5000/team/llava:7b", True),
        # Names that begin alike read text only.
        ("gemma3:1b", False),
        ("gemma3n:e4b", False),
        ("llama3.2:3b", False),
        ("qwen2.5:7b-instruct", False),
    ],
)
def test_a_models_name_tells_whether_it_reads_screenshots(model: str, vision: bool) -> None:
    assert OllamaLlm(provider="ollama", model=model).reads_screenshots is vision
    assert OllamaLlm(provider="ollama", model=model, vision=not vision).reads_screenshots is not vision


@pytest.mark.parametrize("keep_alive", ["-1", "0", "90s", "5m", "24h"])
def test_keep_alive_takes_what_ollama_takes(keep_alive: str) -> None:
    assert OllamaLlm(provider="ollama", model="llava:7b", keep_alive=keep_alive).keep_alive == keep_alive


def test_the_stack_decides_which_file_an_error_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi, "get_project", lambda: "skyvern")
    monkeypatch.setattr(pulumi, "get_stack", lambda: "staging")
    runtime_config.set_all_config({"skyvern:host": "nope", "cloudflare:apiToken": "ignored"}, [])
    with pytest.raises(SettingsError) as wrong:
        settings.load()
    assert wrong.value.lines == [
        "Pulumi.staging.yaml: host: is a single value; write a section with keys below it (docs/configuration.md)"
    ]
    runtime_config.set_all_config({"skyvern:host": '{"port": 9000}'}, [])
    assert settings.load().host.port == 9000
    monkeypatch.setattr(pulumi, "get_stack", lambda: "shop.example")
    runtime_config.set_all_config({"skyvern:host": '{"engine": "swarm"}'}, [])
    with pytest.raises(SettingsError, match=r"rename the file, for example to Pulumi\.shop-example\.yaml"):
        settings.load()


_ONE_OF_TWO = """\
config:
  skyvern:automations:
    credentials:
      shop: {tested_url: "https://a.example.com", username: u, password: {secure: v1:x}}
      blog: {tested_url: "https://b.example.com", username: u, password: in-plain-text, totp: {secure: v1:y}}
"""


def test_a_secret_in_plain_text_beside_encrypted_ones_has_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine says no more than that the section has an encrypted value."""
    monkeypatch.setattr(pulumi, "get_project", lambda: "skyvern")
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")
    monkeypatch.chdir(tmp_path)
    shop = {"tested_url": "https://a.example.com", "username": "u", "password": "decrypted"}
    blog = {"tested_url": "https://b.example.com", "username": "u", "password": "in-plain-text", "totp": "A" * 32}
    given = json.dumps({"credentials": {"shop": shop, "blog": blog}})
    runtime_config.set_all_config({"skyvern:automations": given}, ["skyvern:automations"])
    settings.load()  # of a file elsewhere
    Path("Pulumi.dev.yaml").write_text(_ONE_OF_TWO)
    path = "automations.credentials.blog.password"
    line = f"Pulumi.dev.yaml: {path}: is in plain text; set it with `pulumi config set --secret --path {path} -s dev`"
    with pytest.raises(SettingsError) as wrong:
        settings.load()
    assert wrong.value.lines == [line]
    with pytest.raises(UserError) as refused:
        file.settings(Path("Pulumi.dev.yaml"))
    assert str(refused.value) == line
    for whole in ("  skyvern:automations: {secure: v1:z}\n", "  skyvern:automations: {credentials: {secure: v1:z}}\n"):
        Path("Pulumi.dev.yaml").write_text(f"config:\n{whole}")
        settings.load()


def committed(stack: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    return {name.removeprefix("skyvern:"): value for name, value in config.items()}


def test_the_committed_dev_stack_is_complete() -> None:
    assert parse(committed("dev"), file="Pulumi.dev.yaml").llm.provider == "none"


def test_the_committed_prod_stack_lacks_only_what_its_owner_must_give() -> None:
    assert lines(committed("prod")) == [
        "Pulumi.prod.yaml: llm.api_key: is missing; set it with `pulumi config set --secret --path llm.api_key -s prod`",
        "Pulumi.prod.yaml: edge.domain: is missing; write it below `edge`, for example example.com",
        "Pulumi.prod.yaml: edge.api_token: is missing; set it with `pulumi config set --secret --path edge.api_token -s prod`",
    ]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("proxy.example.com:3128", "is not a URL; write it in full, for example http://proxy.example.com:3128"),
        ("http://proxy.example.com", "has no port; write it, for example http://proxy.example.com:3128"),
        (
            "https://proxy.example.com:3128",
            "is not an http:// address, by which such proxies are asked for https as well; write http://proxy.example.com:3128",
        ),
        ("socks5://proxy.example.com:1080", "is not a URL; write it in full, for example http://proxy.example.com:3128"),
        ("http://127.0.0.1:3128", "is the container itself; write the address at which other machines reach the proxy"),
        ("http://localhost:3128", "is the container itself; write the address at which other machines reach the proxy"),
        ("http://proxy example:3128", "is not a URL; write it in full, for example http://proxy.example.com:3128"),
        ("http://proxy;x:3128", "is not a URL; write it in full, for example http://proxy.example.com:3128"),
        ("http://proxy.example.com:0", "is not a URL; write it in full, for example http://proxy.example.com:3128"),
    ],
)
def test_a_wrong_proxy_is_one_line(value: str, problem: str) -> None:
    """F10."""
    assert lines({"host": {"proxy": value}}) == [f'Pulumi.prod.yaml: host.proxy: "{value}" {problem}']


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            "http://user:secret@proxy.example.com:3128",
            "contains a user or password, which would be stored in plain text; remove it",
        ),
        ("http://proxy.example.com:3128/?key=secret", "has a path or a query, which no proxy has; write its host and port alone"),
    ],
)
def test_a_proxy_that_may_hold_a_secret_is_not_shown(value: str, problem: str) -> None:
    assert lines({"host": {"proxy": value}}) == [f"Pulumi.prod.yaml: host.proxy: {problem}"]


@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        ("http://Proxy.Example.com:3128/", "http://proxy.example.com:3128"),
        ("http://10.1.2.3:8080", "http://10.1.2.3:8080"),
        ("http://[fd00::9]:3128", "http://[fd00::9]:3128"),
    ],
)
def test_a_proxy_has_one_spelling(value: str, proxy: str) -> None:
    assert parse({"host": {"proxy": value}}, file="f").host.proxy == proxy


def test_cloudflared_and_a_proxy_are_decided_on() -> None:
    """F10: its tunnel uses none, so the stack would wait for a connector that never gets healthy."""
    proxy = {"host": {"proxy": "http://proxy.example.com:3128"}}
    assert lines({**cloudflare(), **proxy}) == [
        "Pulumi.prod.yaml: host.proxy: cloudflared knows no proxy and needs port 7844 of Cloudflare; write edge.past_proxy: true "
        "once the network lets it through, or edge.provider: ngrok"
    ]
    keys = frozenset({"edge"})
    assert parse({**cloudflare(past_proxy=True), **proxy}, file="f", secret_keys=keys).host.proxy is not None
    assert lines(cloudflare(past_proxy=True)) == [
        "Pulumi.prod.yaml: edge.past_proxy: is about host.proxy, and there is none; remove it"
    ]


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with ``ca.pem`` and ``ca.key``."""
    Authority(tmp_path)
    monkeypatch.setattr(certificates, "ROOT", tmp_path)
    return tmp_path


def test_certificates_are_read_without_what_is_between_them(authority: Path) -> None:
    """F10."""
    pem = (authority / "ca.pem").read_text()
    (authority / "two.pem").write_bytes(b"# of the company\r\n" + pem.replace("\n", "\r\n").encode() * 2)
    assert parse({"host": {"ca_file": "two.pem"}}, file="f").host.certificates == pem * 2
    assert parse({}, file="f").host.certificates is None


def test_a_wrong_file_of_certificates_is_one_line(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """F10: a plan depends on what is committed, and no private key is committed."""
    outside = tmp_path_factory.mktemp("outside") / "ca.pem"
    outside.write_bytes((authority / "ca.pem").read_bytes())
    (authority / "link.pem").symlink_to(outside)
    (authority / "both.pem").write_bytes((authority / "ca.pem").read_bytes() + (authority / "ca.key").read_bytes())
    (authority / "ca.der").write_bytes(b"0\x82\x01\n\x02\x01\x00")
    (authority / "cut.pem").write_text((authority / "ca.pem").read_text().replace("M", "", 3))
    (authority / "large.pem").write_text((authority / "ca.pem").read_text() * 300)
    (authority / "folder").mkdir()
    where = "is not in the checkout; copy the file there, commit it and write its path, for example company-ca.pem"
    form = "has no certificates in PEM; convert it with `openssl x509 -inform der -in FILE -out company-ca.pem` and name that"
    readable = "write the path of a PEM file there"
    for name, problem in {
        str(outside): where,
        "../ca.pem": where,
        "link.pem": where,
        "none.pem": f"cannot be read in the checkout (No such file or directory); {readable}",
        "folder": f"cannot be read in the checkout (Is a directory); {readable}",
        "both.pem": "holds a private key, which is now in the checkout; write a file with certificates alone",
        "ca.key": "holds a private key, which is now in the checkout; write a file with certificates alone",
        "large.pem": "is larger than 100 kB; write the company's own certificates alone, the public ones are known",
        "ca.der": form,
        "cut.pem": form,
    }.items():
        assert lines({"host": {"ca_file": name}}) == [f'Pulumi.prod.yaml: host.ca_file: "{name}" {problem}']


@pytest.mark.parametrize(
    "entry", ["192.168.1.20:587", "10.0.0.0/8:443", "host:5678", "[fd00::5]:25", "[fd00::/8]:7844", "169.254.169.254:80"]
)
def test_private_destinations_are_allowed_one_by_one(entry: str) -> None:
    assert parse({"server": {"allow": [entry]}}, file="f").server.allow == [entry]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("10.0.0.5", "is not an address with a port; write ADDRESS:PORT, NETWORK/BITS:PORT or host:PORT"),
        ("10.0.0.5:70000", "is not an address with a port; write ADDRESS:PORT, NETWORK/BITS:PORT or host:PORT"),
        ("mail.lan:25", "is not an address; write ADDRESS:PORT, NETWORK/BITS:PORT or host:PORT"),
        ("10.0.0.5/8:25", "is not an address; write ADDRESS:PORT, NETWORK/BITS:PORT or host:PORT"),
        ("127.0.0.1:25", "is the container itself; write host:PORT for a service of the Docker host"),
        ("93.184.216.34:443", "is not private, so it needs no entry; remove it"),
        # Would be everything.
        ("0.0.0.0/0:443", "is not private, so it needs no entry; remove it"),
        ("[::/0]:443", "is not private, so it needs no entry; remove it"),
    ],
)
def test_a_wrong_destination_is_one_line(entry: str, problem: str) -> None:
    assert lines({"server": {"allow": [entry]}}) == [f'Pulumi.prod.yaml: server.allow: "{entry}" {problem}']
    assert lines(cloudflare(allow=[entry])) == [f'Pulumi.prod.yaml: edge.allow: "{entry}" {problem}']


ITSELF = (
    "is the egress proxy itself; write the address at which other machines reach it (for a program beside a Chrome elsewhere: "
    "docs/browsers.md)"
)
PAGE_FORMS = "write ADDRESS:PORT, NETWORK/BITS:PORT or NAME:PORT, for example wiki.example.com:443"


@pytest.mark.parametrize(
    "entry",
    [
        *("192.168.1.20:443", "10.20.1.0/24:8443", "172.17.0.1:5678", "100.64.3.4:80"),
        *("wiki.example.com:443", "wiki.corp.internal:80", "n8n.local:5678", "3.example.com:443"),
        *(f"{'a' * 63}.example.com:65535",),
    ],
)
@pytest.mark.parametrize("browser", [{"type": "headless"}, {"type": "headful"}, {}, {"type": "cdp-connect", "url": CHROME}])
def test_pages_are_allowed_single_hosts_and_ports(browser: dict[str, Any], entry: str) -> None:
    """F09: an intranet site, or n8n on the same host."""
    assert parse({"browser": {**browser, "allow": [entry]}}, file="f").browser.allow == [entry]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("wiki.example.com", f"has no port, or a wrong one; {PAGE_FORMS}"),
        ("wiki.example.com:0", f"has no port, or a wrong one; {PAGE_FORMS}"),
        ("wiki.example.com:99999", f"has no port, or a wrong one; {PAGE_FORMS}"),
        ("https://wiki.example.com:443", f"is not a name or an address in lower case; {PAGE_FORMS}"),
        ("Wiki.example.com:443", f"is not a name or an address in lower case; {PAGE_FORMS}"),
        ("*.example.com:443", f"is not a name or an address in lower case; {PAGE_FORMS}"),
        (".example.com:443", f"is not a name or an address in lower case; {PAGE_FORMS}"),
        ("wiki.example.com.:443", f"is not a name or an address in lower case; {PAGE_FORMS}"),
        ("wiki_1.example.com:443", f"is not a name or an address in lower case; {PAGE_FORMS}"),
        ("wiki.example.com:443\nhttp_access allow all:80", f"is not a name or an address in lower case; {PAGE_FORMS}"),
        # Spellings of addresses, which a name must not be.
        ("10.1:443", f"is not a name or an address in lower case; {PAGE_FORMS}"),
        ("10.0.0.0x5:443", f"is not a name or an address in lower case; {PAGE_FORMS}"),
        ("10.0.0.5/8:443", f"is not a name or an address in lower case; {PAGE_FORMS}"),
        ("[fd00::5]:443", "is IPv6, which the stack's networks do not have; write the IPv4 address, or the name and its port"),
        # The stack's own containers have such names.
        ("server:8000", "is a name without a dot, as the stack's own containers have; write the full name, or the address"),
        ("localhost:8080", "is a name without a dot, as the stack's own containers have; write the full name, or the address"),
        (
            "host:5678",
            "is not what a page calls this host; write its address in the URL, for example 172.17.0.1:5678 (docker0)",
        ),
        ("x.localhost:80", ITSELF),
        ("127.0.0.1:80", ITSELF),
        ("93.184.216.34:443", "is not private, so it needs no entry; remove it"),
        ("0.0.0.0/0:443", "is not private, so it needs no entry; remove it"),
        ("169.254.169.254:80", "is not for machines of a network: a page there could get a cloud's credentials; remove it"),
        ("224.0.0.1:80", "is not for machines of a network: a page there could get a cloud's credentials; remove it"),
        ("10.0.0.0/8:443", "is more than 256 addresses, and Skyvern's own check takes single ones; write /24 or less, or names"),
        ("10.0.0.0/23:443", "is more than 256 addresses, and Skyvern's own check takes single ones; write /24 or less, or names"),
    ],
)
def test_a_wrong_destination_of_pages_is_one_line(entry: str, problem: str) -> None:
    """F09"""
    assert lines({"browser": {"allow": [entry]}}) == [f"Pulumi.prod.yaml: browser.allow: {json.dumps(entry)} {problem}"]
