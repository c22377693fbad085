"""As cases.py, for the edge: Cloudflare, Vercel, and the rules of the stack that are about names and ingress."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from policy.rules.cloudflare import (
    ACCESS_APPLICATION,
    ACCESS_POLICY,
    ACCOUNT_TOKEN,
    BUCKET,
    BUCKET_LOCK,
    DNSSEC,
    FIREWALL_PHASE,
    INGRESS,
    RATE_LIMIT_PHASE,
    RECORD,
    RULESET,
    SETTING,
    TUNNEL,
    USER_TOKEN,
)
from policy.rules.cloudflare import PROVIDER as CLOUDFLARE
from policy.rules.vercel import DEPLOYMENT, DOMAIN, FIREWALL, PROJECT, VARIABLE
from policy.rules.vercel import PROVIDER as VERCEL
from tests.policy.cases import DIGEST, LONG, Cases, container, each, on
from tests.policy.pack import Sent, secret

TUNNEL_ID = "c1744f8b-faa1-48a4-9e5c-02ac921467fa"
TUNNEL_SECRET = base64.b64encode(b"k" * 32).decode()
CATCH_ALL = {"service": "http_status:404"}


def tunnel(**changed: Any) -> Sent:
    """A tunnel; None takes a property away."""
    inputs = {"name": "skyvern-prod", "configSrc": "cloudflare", "tunnelSecret": secret(TUNNEL_SECRET)} | changed
    return Sent(TUNNEL, "tunnel", {key: value for key, value in inputs.items() if value is not None})


def rule_for(host: str, service: str = "http://gateway:8080", **more: Any) -> dict[str, Any]:
    """An ingress rule."""
    return {"hostname": host, "service": service, **more}


def ingress(*rules: Mapping[str, Any], name: str = "ingress", **more: Any) -> Sent:
    """Ingress rules with the catch-all behind them."""
    config = {"ingresses": [*rules, CATCH_ALL], **more.pop("config", {})}
    return Sent(INGRESS, name, {"tunnelId": TUNNEL_ID, "config": config, **more})


def record(name: str = "api.example.com", **changed: Any) -> Sent:
    """A record that leads into the tunnel."""
    inputs = {"name": name, "type": "CNAME", "content": f"{TUNNEL_ID}.cfargotunnel.com", "proxied": True} | changed
    return Sent(RECORD, f"record-{name}", {key: value for key, value in inputs.items() if value is not None})


HEX = "4793d734c0b8e484dfc37ec392b5fa8a"
ITEM_WRITE = "2efd5506f9c8494dacb1fa10a3e7d5b6"


def locked(prefix: str, days: int | None = 30) -> dict[str, Any]:
    """A rule of a bucket's lock; without days it has no end."""
    condition = {"type": "Indefinite"} if days is None else {"type": "Age", "maxAgeSeconds": days * 86400}
    return {"id": prefix, "enabled": True, "prefix": prefix, "condition": condition}


LOCKED = [locked("config", None), locked("data/"), locked("keys/", None), locked("snapshots/")]


def lock(*rules: Mapping[str, Any]) -> Sent:
    """The lock of a bucket."""
    return Sent(BUCKET_LOCK, "lock", {"bucketName": "acme-backup", "rules": list(rules)})


def token(*groups: str, effect: str = "allow", resources: str | None = f"com.cloudflare.edge.r2.bucket.{HEX}_eu_acme") -> Sent:
    """A token with one policy; without groups, for the objects of a bucket."""
    named = json.dumps({resources: "*"} if resources else {})
    permissions = [{"id": group} for group in groups or (ITEM_WRITE,)]
    return Sent(ACCOUNT_TOKEN, "key", {"policies": [{"effect": effect, "permissionGroups": permissions, "resources": named}]})


def setting(id_: str, value: Any) -> Sent:
    """A setting of the zone."""
    return Sent(SETTING, id_, {"settingId": id_, "value": value})


def zone(id_: str, good: Sequence[Any], bad: Sequence[Any]) -> Cases:
    """Cases of one setting of a zone; the same value of another setting passes."""
    other = setting("brotli", bad[0])
    return each([other, *(setting(id_, value) for value in good)], [(setting(id_, value), "value") for value in bad])


def hsts(**header: Any) -> Sent:
    """The setting of strict transport security."""
    complete = {"enabled": True, "include_subdomains": False, "max_age": 15552000, "nosniff": True, "preload": False} | header
    return setting("security_header", {"strict_transport_security": complete})


def ruleset(*rules: Mapping[str, Any], phase: str = FIREWALL_PHASE) -> Sent:
    """A ruleset of the zone."""
    return Sent(RULESET, phase.replace("_", "-"), {"kind": "zone", "phase": phase, "rules": list(rules)})


BLOCK = {"action": "block", "expression": '(http.host eq "x")', "enabled": True, "ref": "x"}
LIMIT = {**BLOCK, "ratelimit": {"characteristics": ["cf.colo.id", "ip.src"], "period": 10}}


def limit(*characteristics: str) -> dict[str, Any]:
    """A rate limit that counts by these."""
    return {**BLOCK, "ratelimit": {"characteristics": list(characteristics), "period": 10}}


def people(*includes: Mapping[str, Any], decision: str = "allow") -> Sent:
    """A policy of Access."""
    return Sent(ACCESS_POLICY, "people", {"name": "prod: people", "decision": decision, "includes": list(includes)})


MAIL: dict[str, Any] = {"email": {"email": "ops@example.com"}}
OWN_DOMAIN: dict[str, Any] = {"emailDomain": {"domain": "example.com"}}


def application(**inputs: Any) -> Sent:
    """An application of Access."""
    return Sent(ACCESS_APPLICATION, "ui", {"name": "prod: UI", "domain": "app.example.com", "sessionDuration": "24h", **inputs})


def project(**changed: Any) -> Sent:
    """A project at Vercel that no rule objects to."""
    inputs = {
        "name": "skyvern-prod",
        "vercelAuthentication": {"deploymentType": "standard_protection_new"},
        "automaticallyExposeSystemEnvironmentVariables": False,
    } | changed
    return Sent(PROJECT, "ui", {key: value for key, value in inputs.items() if value is not None})


def projects(property_: str, passing: Sequence[Any], failing: Sequence[tuple[Any, str]]) -> Cases:
    """Cases of one property of a project."""
    return each(
        [project(**{property_: value}) for value in passing], [(project(**{property_: value}), path) for value, path in failing]
    )


def variable(key: str, value: Any = "x", *targets: str, **more: Any) -> Sent:
    """A variable at Vercel, in production."""
    inputs = {"projectId": "prj_1", "key": key, "value": value, "targets": list(targets or ("production",)), "sensitive": False}
    return Sent(VARIABLE, f"variable-{key}", inputs | more)


def hidden(key: str, *targets: str, **more: Any) -> Sent:
    """A secret at Vercel."""
    return variable(key, more.pop("value", secret(LONG)), *targets, **{"sensitive": True, **more})


# --- A stack with a tunnel to the gateway, and with its UI at Vercel -----------------------------------------------------


def gateway(*envs: Any, **more: Any) -> Sent:
    """The gateway behind a tunnel."""
    networks = on("prod-edge", "prod-app", aliases=["gateway"])
    image = "localhost/skyvern/gateway:0123456789ab"
    return container("x-gateway-caddy", **{"image": image, "envs": list(envs), "networksAdvanced": networks, **more})


def connector(*networks: str, **more: Any) -> Sent:
    """cloudflared."""
    envs = [secret(f"TUNNEL_TOKEN={LONG}")]
    image = f"cloudflare/cloudflared:2026.8.2@{DIGEST}"
    return container("connector", **{"image": image, "envs": envs, "networksAdvanced": on(*networks), **more})


def server(origins: Any, **more: Any) -> Sent:
    """Skyvern; origins: those it allows, a list or a text."""
    listed = origins if isinstance(origins, str) else json.dumps(origins)
    return container("server", envs=[f"ALLOWED_ORIGINS={listed}"], **more)


GATEWAY = gateway()
CONNECTOR = connector("prod-tunnel", "prod-edge")
API = rule_for("api.example.com")
APP_DOMAIN = Sent(DOMAIN, "domain", {"projectId": "prj_1", "domain": "app.example.com"})
LOGIN = f"UI_LOGIN_SHA256={'5e' * 32}"
ARTIFACTS = rule_for("artifact.example.com")


def policy(*sources: str) -> str:
    """A content policy that lets pages connect there."""
    return f"default-src 'none'; connect-src {' '.join(sources)}; script-src 'self'"


def caddy(*sources: str, urls: Sequence[str] = ("VITE_WSS_BASE_URL=wss://api.example.com/api/v1",)) -> Sent:
    """The gateway with the UI and a content policy."""
    header = f'(app) {{\n\theader Content-Security-Policy "{policy(*sources)}"\n}}\n'
    recording = '(recordings) {\n\theader Content-Security-Policy "sandbox"\n}\n'
    return gateway(*urls, command=["gateway-start", header + recording])


def own(property_: str, host: str = "https://app.example.com/api/v1") -> Sent:
    """A variable at Vercel with an address."""
    return variable(property_, host)


_ONE = "ingress: config.ingresses[0].service"

CASES = {
    # --- Cloudflare: the provider and the tunnel
    "cloudflare-provider-token-scoped": each(
        [Sent(CLOUDFLARE, "account", {"apiToken": secret(LONG)}), Sent(CLOUDFLARE, "account", {})],
        [
            (Sent(CLOUDFLARE, "account", {"apiKey": secret(LONG), "email": "me@example.com"}), "apiKey"),
            (Sent(CLOUDFLARE, "account", {"apiKey": LONG}), "apiKey"),
        ],
    ),
    "cloudflare-provider-token-encrypted": each(
        [Sent(CLOUDFLARE, "account", {"apiToken": secret(LONG)}), Sent(CLOUDFLARE, "account", {})],
        [
            (Sent(CLOUDFLARE, "account", {"apiToken": LONG}), "apiToken"),
            (Sent(CLOUDFLARE, "account", {"apiToken": "t" * 40, "baseUrl": secret("https://x")}), "apiToken"),
        ],
    ),
    "cloudflare-provider-url-encrypted": each(
        [Sent(CLOUDFLARE, "account", {}), Sent(CLOUDFLARE, "account", {"baseUrl": "https://api.cloudflare.com/client/v4"})],
        [
            (Sent(CLOUDFLARE, "account", {"baseUrl": "http://proxy.example.com"}), "baseUrl"),
            (Sent(CLOUDFLARE, "account", {"baseUrl": "http://127.0.0.1:8080/client/v4"}), "baseUrl"),
        ],
    ),
    "cloudflare-tunnel-managed-remotely": each(
        [tunnel()], [(tunnel(configSrc=None), "configSrc"), (tunnel(configSrc="local"), "configSrc")]
    ),
    "cloudflare-tunnel-secret-long": each(
        [tunnel(), tunnel(tunnelSecret=None)],
        [
            (tunnel(tunnelSecret=secret(base64.b64encode(b"k" * 31).decode())), "tunnelSecret"),
            (tunnel(tunnelSecret="no base64, and long enough to be mistaken for a key"), "tunnelSecret"),
        ],
    ),
    "cloudflare-tunnel-secret-encrypted": each(
        [tunnel(), tunnel(tunnelSecret=None)],
        [(tunnel(tunnelSecret=TUNNEL_SECRET), "tunnelSecret"), (tunnel(tunnelSecret="short"), "tunnelSecret")],
    ),
    # --- Cloudflare: ingress rules
    "cloudflare-ingress-managed-remotely": each(
        [ingress(API), ingress(API, source="cloudflare")],
        [(ingress(API, source="local"), "source"), (ingress(source="local"), "source")],
    ),
    "cloudflare-ingress-catch-all-refused": each(
        [ingress(API), ingress()],
        [
            (Sent(INGRESS, "x", {"config": {"ingresses": [API]}}), "config.ingresses[0]"),
            (Sent(INGRESS, "x", {"config": {"ingresses": [API, {"service": "http://gateway:8080"}]}}), "config.ingresses[1]"),
            (Sent(INGRESS, "x", {"config": {"ingresses": [CATCH_ALL, {**CATCH_ALL, "path": "/x"}]}}), "config.ingresses[1]"),
            (Sent(INGRESS, "x", {"config": {}}), "config.ingresses[0]"),
        ],
    ),
    "cloudflare-ingress-hosts-named": each(
        [ingress(API), ingress()],
        [
            (ingress({"service": "http://gateway:8080"}), "config.ingresses[0].hostname"),
            (ingress(API, rule_for("*.example.com")), "config.ingresses[1].hostname"),
        ],
    ),
    "cloudflare-ingress-tls-verified": each(
        [ingress(API), ingress(rule_for("a.example.com", originRequest={"noTlsVerify": False}))],
        [
            (ingress(API, rule_for("b", originRequest={"noTlsVerify": True})), "config.ingresses[1].originRequest.noTlsVerify"),
            (ingress(API, config={"originRequest": {"noTlsVerify": True}}), "config.originRequest.noTlsVerify"),
        ],
    ),
    "cloudflare-ingress-origin-elsewhere": each(
        [ingress(API), ingress(rule_for("a.example.com", "https://10.0.0.4:8443"))],
        [
            (ingress(rule_for("a.example.com", "http://localhost:8000")), "config.ingresses[0].service"),
            (ingress(API, rule_for("b.example.com", "http://127.0.0.1:9090")), "config.ingresses[1].service"),
            (ingress(rule_for("a.example.com", "http://[::1]:80")), "config.ingresses[0].service"),
        ],
    ),
    "cloudflare-ingress-web-only": each(
        [ingress(API), ingress(rule_for("a.example.com", "https://gateway:8443"))],
        [
            (ingress(rule_for("ssh.example.com", "ssh://gateway:22")), "config.ingresses[0].service"),
            (ingress(API, rule_for("x.example.com", "unix:/var/run/docker.sock")), "config.ingresses[1].service"),
            (ingress(rule_for("x.example.com", "bastion")), "config.ingresses[0].service"),
        ],
    ),
    # --- Cloudflare: records
    "cloudflare-record-proxied": each(
        [
            record(),
            record(type="TXT", content="v=spf1 -all", proxied=None),
            record(content="d1d4fc829fe7bc7c.vercel-dns-017.com.", proxied=False),
            record(content="cname.vercel-dns.com", proxied=False),
        ],
        [
            (record(proxied=None), "proxied"),
            (record(type="A", content="203.0.113.4", proxied=False), "proxied"),
            (record(content="cname.vercel-dns.com.evil.example", proxied=False), "proxied"),
        ],
    ),
    "cloudflare-record-address-public": each(
        [record(), record(type="A", content="8.8.8.8"), record(type="AAAA", content="2606:4700::1111")],
        [
            (record(type="A", content="192.168.0.4"), "content"),
            (record(type="AAAA", content="fd00::1"), "content"),
            (record(type="A", content="127.0.0.1"), "content"),
        ],
    ),
    "cloudflare-record-name-exact": each([record()], [(record("*.example.com"), "name"), (record("*"), "name")]),
    "cloudflare-record-target-host": each(
        [record(), record(content="d1d4fc829fe7bc7c.vercel-dns-017.com."), record(type="TXT", content="https://x")],
        [
            (record(content="https://your-app.vercel.app"), "content"),
            (record(content="localhost"), "content"),
            (record(content="203.0.113.4"), "content"),
            (record(content="gateway:8080"), "content"),
        ],
    ),
    # --- Cloudflare: the zone
    "cloudflare-zone-https-forced": zone("always_use_https", ["on"], ["off", "On"]),
    "cloudflare-zone-tls-minimum": zone("min_tls_version", ["1.2", "1.3"], ["1.0", "1.1"]),
    "cloudflare-zone-tls-1-3-on": zone("tls_1_3", ["on", "zrt"], ["off", ""]),
    "cloudflare-zone-origin-tls-strict": zone("ssl", ["strict", "origin_pull"], ["off", "flexible", "full"]),
    "cloudflare-zone-rewrites-on": zone("automatic_https_rewrites", ["on"], ["off", ""]),
    "cloudflare-zone-development-off": zone("development_mode", ["off"], ["on", "On"]),
    "cloudflare-zone-websockets-on": zone("websockets", ["on"], ["off", ""]),
    "cloudflare-zone-hsts-on": each(
        [hsts(), hsts(max_age=31536000), setting("brotli", "on")],
        [
            (hsts(enabled=False), "value.strict_transport_security"),
            (hsts(max_age=86400), "value.strict_transport_security"),
        ],
    ),
    "cloudflare-zone-hsts-own-hosts": each(
        [hsts(), setting("brotli", "on")],
        [
            (hsts(include_subdomains=True), "value.strict_transport_security.include_subdomains"),
            (hsts(preload=True), "value.strict_transport_security.preload"),
        ],
    ),
    "cloudflare-zone-dnssec-on": each(
        [Sent(DNSSEC, "one", {"status": "active"}), Sent(DNSSEC, "one", {})],
        [(Sent(DNSSEC, "one", {"status": "disabled"}), "status"), (Sent(DNSSEC, "two", {"status": "pending"}), "status")],
    ),
    # --- Cloudflare: the firewall and Access
    "cloudflare-ruleset-rules-on": each(
        [ruleset(BLOCK), ruleset({"action": "block"}), ruleset()],
        [
            (ruleset({**BLOCK, "enabled": False}), "rules[0].enabled"),
            (ruleset(LIMIT, {**LIMIT, "enabled": False}, phase=RATE_LIMIT_PHASE), "rules[1].enabled"),
        ],
    ),
    "cloudflare-ruleset-rules-decide": each(
        [
            ruleset(BLOCK, {**BLOCK, "action": "managed_challenge"}),
            ruleset({**BLOCK, "action": "skip"}, phase="http_request_origin"),
        ],
        [
            (ruleset(BLOCK, {**BLOCK, "action": "skip"}), "rules[1].action"),
            (ruleset({**LIMIT, "action": "log"}, phase=RATE_LIMIT_PHASE), "rules[0].action"),
        ],
    ),
    "cloudflare-ruleset-limit-per-address": each(
        [ruleset(LIMIT, phase=RATE_LIMIT_PHASE), ruleset(BLOCK)],
        [
            (ruleset(limit("cf.colo.id"), phase=RATE_LIMIT_PHASE), "rules[0].ratelimit.characteristics"),
            (ruleset(LIMIT, limit(), phase=RATE_LIMIT_PHASE), "rules[1].ratelimit.characteristics"),
        ],
    ),
    "cloudflare-access-people-named": each(
        [
            people(MAIL, OWN_DOMAIN),
            people({"everyone": {}}, decision="deny"),
            people({"ip": {"ip": "203.0.113.0/24"}}, decision="non_identity"),
            application(policies=[{"id": "f174e90a", "precedence": 1}]),
        ],
        [
            (people(MAIL, {"everyone": {}}), "includes[1]"),
            (people({"emailDomain": {"domain": "naver.com"}}), "includes[0]"),
            (people({"ip": {"ip": "0.0.0.0/0"}}, decision="bypass"), "includes[0]"),
            (people({"geo": {"countryCode": "KR"}}), "includes[0]"),
        ],
    ),
    "cloudflare-access-decides": each(
        [people(MAIL), people(MAIL, decision="non_identity"), application(policies=[{"id": "f174e90a"}])],
        [(people(MAIL, decision="bypass"), "decision"), (people(decision="bypass"), "decision")],
    ),
    "cloudflare-access-session-short": each(
        [application(), application(sessionDuration="30m"), people(MAIL)],
        [
            (application(sessionDuration="720h"), "sessionDuration"),
            (application(sessionDuration="24h1m"), "sessionDuration"),
        ],
    ),
    "cloudflare-access-cookie-unread": each(
        [application(), application(httpOnlyCookieAttribute=True)],
        [
            (application(httpOnlyCookieAttribute=False), "httpOnlyCookieAttribute"),
            (application(type="self_hosted", httpOnlyCookieAttribute=False), "httpOnlyCookieAttribute"),
        ],
    ),
    # --- Cloudflare: buckets and tokens
    "cloudflare-bucket-protected": each(
        [Sent(BUCKET, "one", {"name": "acme-backup"}, protect=True)],
        [
            (Sent(BUCKET, "one", {"name": "acme-backup"}), "options.protect"),
            (Sent(BUCKET, "two", {"name": "acme-files", "location": "apac"}), "options.protect"),
        ],
    ),
    "cloudflare-bucket-lock-lasting": each(
        [lock(*LOCKED), lock(locked("data/", days=7))],
        [
            (lock({**locked("data/"), "enabled": False}), "rules[0].enabled"),
            (lock(locked("data/"), locked("snapshots/", days=6)), "rules[1].condition"),
            (lock({**locked("data/"), "condition": {"type": "Date", "date": "2027-01-01T00:00:00Z"}}), "rules[0].condition"),
        ],
    ),
    "cloudflare-bucket-lock-append-only": each(
        [lock(*LOCKED), lock(*LOCKED, {**locked("locks/"), "enabled": True, "prefix": "other/"})],
        [
            (lock(), "rules"),
            (lock(*LOCKED[1:]), "rules"),
            (lock(*LOCKED[:3], {**LOCKED[3], "enabled": False}), "rules"),
            (lock(*LOCKED, locked("index/")), "rules[4].prefix"),
            (lock({"id": "all", "enabled": True, "condition": {"type": "Indefinite"}}), "rules[0].prefix"),
            (lock(*LOCKED, locked("l")), "rules[4].prefix"),
        ],
    ),
    "stack-bucket-locked": Cases(
        [[Sent(BUCKET, "one", {"name": "acme-backup"}), lock(*LOCKED)], [tunnel()]],
        [
            ([Sent(BUCKET, "one", {"name": "acme-backup"})], "one: R2BucketLock"),
            ([Sent(BUCKET, "one", {"name": "acme-other"}), lock(*LOCKED)], "one: R2BucketLock"),
        ],
    ),
    "cloudflare-token-resources-named": each(
        [token(), token(resources=f"com.cloudflare.api.account.zone.{HEX}"), Sent(USER_TOKEN, "one", token().inputs)],
        [
            (token(resources=f"com.cloudflare.api.account.{HEX}"), "policies[0].resources"),
            (token(resources="com.cloudflare.api.account.zone.*"), "policies[0].resources"),
            (token(resources="com.cloudflare.edge.r2.bucket.*"), "policies[0].resources"),
            (token(resources=None), "policies[0].resources"),
            (Sent(USER_TOKEN, "one", token(resources=f"com.cloudflare.api.user.{HEX}").inputs), "policies[0].resources"),
        ],
    ),
    "cloudflare-token-permissions-named": each(
        [token(), token("f" * 32, effect="deny")],
        [
            (token("bf7481a1826f439697cb59a20b22293e"), "policies[0].permissionGroups[0].id"),
            (token(ITEM_WRITE, "bf7481a1826f439697cb59a20b22293e"), "policies[0].permissionGroups[1].id"),
        ],
    ),
    # --- Vercel: the provider and the project
    "vercel-provider-token-encrypted": each(
        [Sent(VERCEL, "team", {"apiToken": secret(LONG)}), Sent(VERCEL, "team", {})],
        [
            (Sent(VERCEL, "team", {"apiToken": LONG}), "apiToken"),
            (Sent(VERCEL, "team", {"apiToken": "t" * 24, "team": secret("acme")}), "apiToken"),
        ],
    ),
    "vercel-project-forks-asked": projects(
        "gitForkProtection", [None, True], [(False, "gitForkProtection"), (secret(False), "gitForkProtection")]
    ),
    "vercel-project-deployments-authenticated": projects(
        "vercelAuthentication",
        [{"deploymentType": "standard_protection_new"}, {"deploymentType": "all_deployments"}],
        [
            (None, "vercelAuthentication.deploymentType"),
            ({"deploymentType": "none"}, "vercelAuthentication.deploymentType"),
            ({"deploymentType": "only_preview_deployments"}, "vercelAuthentication.deploymentType"),
        ],
    ),
    "vercel-project-password-long": projects(
        "passwordProtection",
        [None, {"password": secret(LONG), "deploymentType": "all_deployments"}],
        [
            ({"password": secret("hunter2"), "deploymentType": "all_deployments"}, "passwordProtection.password"),
            ({"password": "fifteen-letters"}, "passwordProtection.password"),
        ],
    ),
    "vercel-project-password-encrypted": projects(
        "passwordProtection",
        [None, {"password": secret(LONG)}, secret({"password": LONG})],
        [
            ({"password": LONG, "deploymentType": "all_deployments"}, "passwordProtection.password"),
            ({"password": "short"}, "passwordProtection.password"),
        ],
    ),
    "vercel-project-directories-unlisted": projects(
        "directoryListing", [None, False], [(True, "directoryListing"), (secret(True), "directoryListing")]
    ),
    "vercel-project-system-variables-hidden": projects(
        "automaticallyExposeSystemEnvironmentVariables",
        [False],
        [
            (None, "automaticallyExposeSystemEnvironmentVariables"),
            (True, "automaticallyExposeSystemEnvironmentVariables"),
        ],
    ),
    "vercel-project-source-private": projects(
        "publicSource", [None, False], [(True, "publicSource"), (secret(True), "publicSource")]
    ),
    "vercel-project-support-asked": projects(
        "customerSuccessCodeVisibility",
        [None, False],
        [(True, "customerSuccessCodeVisibility"), (secret(True), "customerSuccessCodeVisibility")],
    ),
    "vercel-project-variables-apart": projects(
        "environments",
        [None, []],
        [([{"key": "A", "value": "b"}], "environments"), ([{"key": "A"}, {"key": "B"}], "environments")],
    ),
    "vercel-firewall-on": each(
        [Sent(FIREWALL, "one", {"projectId": "prj_1"}), Sent(FIREWALL, "one", {"enabled": True})],
        [(Sent(FIREWALL, "one", {"enabled": False}), "enabled"), (Sent(FIREWALL, "two", {"enabled": False}), "enabled")],
    ),
    # --- Vercel: variables
    "vercel-variable-client-public": each(
        [variable("VITE_API_BASE_URL"), hidden("SKYVERN_API_KEY"), variable("VITE_ENABLE_CODE_BLOCK")],
        [
            (variable("VITE_SKYVERN_API_KEY", "your-api-key-from-settings"), "key"),
            (hidden("NEXT_PUBLIC_AUTH_TOKEN"), "key"),
            (hidden("REACT_APP_DB_PASSWORD"), "key"),
        ],
    ),
    "vercel-variable-secret-sensitive": each(
        [variable("API_URL"), hidden("GATEWAY_KEY"), variable("VITE_SKYVERN_API_KEY")],
        [
            (hidden("GATEWAY_KEY", sensitive=False), "sensitive"),
            (hidden("UI_LOGIN_SHA256", sensitive=False), "sensitive"),
            (variable("DATABASE_URL", secret(f"postgresql://x:{LONG}@db.example.com/x")), "sensitive"),
        ],
    ),
    "vercel-variable-secret-encrypted": each(
        [variable("API_URL"), hidden("GATEWAY_KEY"), hidden("GATEWAY_KEY", value=None, valueWo=LONG)],
        [
            (hidden("GATEWAY_KEY", value=LONG), "value"),
            (variable("DATABASE_URL", f"postgresql://x:{LONG}@db.example.com/x"), "value"),
            (variable("ANYTHING", LONG, sensitive=True), "value"),
        ],
    ),
    "vercel-variable-secret-production-only": each(
        [hidden("GATEWAY_KEY"), variable("API_URL", "https://x", "preview", "production")],
        [
            (hidden("GATEWAY_KEY", "preview", "production"), "targets"),
            (hidden("ANYTHING", "preview"), "targets"),
            (variable("STRIPE_SECRET", LONG, "development"), "targets"),
        ],
    ),
    "vercel-variable-targets-chosen": each(
        [variable("API_URL"), variable("API_URL", "https://x", "preview", "production")],
        [
            (variable("API_URL", "https://x", "development", "preview", "production"), "targets"),
            (hidden("GATEWAY_KEY", "production", "preview", "development"), "targets"),
        ],
    ),
    "vercel-variable-secret-not-default": each(
        [hidden("GATEWAY_KEY"), variable("MODE", "default")],
        [
            (variable("VITE_SKYVERN_API_KEY", "your-api-key-from-settings"), "value"),
            (hidden("GATEWAY_KEY", value=secret("changeme")), "value"),
            (variable("DATABASE_URL", "postgresql://skyvern:skyvern@db.example.com/x"), "value"),
        ],
    ),
    "vercel-deployment-secrets-absent": each(
        [Sent(DEPLOYMENT, "one", {"production": True}), Sent(DEPLOYMENT, "one", {"environment": {"API_URL": "https://x"}})],
        [
            (Sent(DEPLOYMENT, "one", {"environment": {"GATEWAY_KEY": secret(LONG)}}), "environment.GATEWAY_KEY"),
            (Sent(DEPLOYMENT, "one", {"environment": {"A": "b", "VITE_API_KEY": LONG}}), "environment.VITE_API_KEY"),
        ],
    ),
    # --- The stack: ingress from the internet
    "stack-ingress-host-recorded": Cases(
        [[ingress(API), record()], [ingress(API), record("API.example.com"), record("www.example.com", content="example.net")]],
        [
            ([ingress(API, rule_for("wss.example.com")), record()], "ingress: config.ingresses[1].hostname"),
            ([ingress(API), record(), record(content="other.cfargotunnel.com")], "ingress: config.ingresses[0].hostname"),
            ([ingress(API), record(content="other.cfargotunnel.com")], "record-api.example.com: content"),
            ([ingress(API), record(content="example.net")], "record-api.example.com: content"),
        ],
    ),
    "stack-record-routed": Cases(
        [[ingress(API), record()], [record("www.example.com", content="example.net")]],
        [
            ([ingress(API), record(), record("old.example.com")], "record-old.example.com: name"),
            ([record()], "record-api.example.com: name"),
        ],
    ),
    "stack-ingress-origin-gateway": Cases(
        [[ingress(API), GATEWAY], [ingress(), container()]],
        [
            ([ingress(rule_for("api.example.com", "http://server:8000")), container("server", hostname="server")], _ONE),
            ([ingress(API)], _ONE),
            ([ingress(API, rule_for("b.example.com", "http://localhost:8000")), GATEWAY], "ingress: config.ingresses[1].service"),
        ],
    ),
    "stack-ingress-origin-checked": Cases(
        [[ingress(API), GATEWAY], [ingress(), container()]],
        [
            ([ingress(API), gateway(healthcheck=None)], _ONE),
            ([ingress(API), gateway(healthcheck={"tests": ["NONE"]})], _ONE),
            ([ingress(rule_for("a.example.com", "http://nobody:1")), GATEWAY], _ONE),
        ],
    ),
    "stack-ingress-origin-reached": Cases(
        [[ingress(API), GATEWAY, CONNECTOR], [ingress(API), GATEWAY]],
        [
            ([ingress(API), GATEWAY, connector("prod-tunnel")], _ONE),
            ([ingress(API), gateway(networksAdvanced=on("prod-app", aliases=["gateway"])), CONNECTOR], _ONE),
        ],
    ),
    "stack-connector-apart": Cases(
        [[GATEWAY, CONNECTOR], [GATEWAY, CONNECTOR, container("server", networksAdvanced=on("prod-app"))]],
        [
            ([CONNECTOR, container("server", networksAdvanced=on("prod-edge"))], "connector: networksAdvanced"),
            ([connector("data"), container("postgres", networksAdvanced=on("data"))], "connector: networksAdvanced"),
            (
                [
                    connector("x", image="localhost/mine/agent:1", envs=[f"NGROK_AUTHTOKEN={LONG}"]),
                    container("one", networksAdvanced=on("x")),
                ],
                "connector: networksAdvanced",
            ),
        ],
    ),
    # --- The stack: do all names agree?
    "stack-urls-served": Cases(
        [
            [ingress(API), gateway("VITE_API_BASE_URL=https://api.example.com/api/v1")],
            [APP_DOMAIN, own("VITE_ARTIFACT_API_BASE_URL"), own("VITE_WSS_BASE_URL", "wss://app.example.com/api/v1")],
            [gateway("VITE_API_BASE_URL=http://localhost:8080/api/v1")],
            [ingress(API), gateway("OLLAMA_SERVER_URL=http://ollama:11434")],
            [ingress(API), variable("ARTIFACT_URL", "none"), variable("API_URL", "")],
        ],
        [
            (
                [ingress(API), gateway("VITE_WSS_BASE_URL=wss://wss.example.com/api/v1")],
                "x-gateway-caddy: envs[VITE_WSS_BASE_URL]",
            ),
            ([ingress(API), gateway("VITE_API_BASE_URL=http://api.example.com")], "x-gateway-caddy: envs[VITE_API_BASE_URL]"),
            ([APP_DOMAIN, own("API_URL", "https://api.example.com")], "variable-API_URL: value"),
        ],
    ),
    "stack-origins-served": Cases(
        [
            [ingress(API, rule_for("app.example.com")), server(["https://app.example.com"])],
            [APP_DOMAIN, ingress(API), server("https://app.example.com")],
            [server(["http://localhost:8080"])],
        ],
        [
            ([ingress(API), server(["https://your-app.vercel.app", "https://api.example.com"])], "server: envs[ALLOWED_ORIGINS]"),
            ([ingress(API), server(["http://api.example.com"])], "server: envs[ALLOWED_ORIGINS]"),
            ([ingress(API), server(["https://api.example.com/"])], "server: envs[ALLOWED_ORIGINS]"),
            ([APP_DOMAIN, ingress(API), server(["https://api.example.com"])], "server: envs[ALLOWED_ORIGINS]"),
        ],
    ),
    "stack-content-policy-agrees": Cases(
        [
            [caddy("'self'", "wss://api.example.com")],
            [caddy("'self'", urls=["VITE_API_BASE_URL=https://app.example.com/api"]), server(["https://app.example.com"])],
            [APP_DOMAIN, own("VITE_API_BASE_URL"), variable("CONTENT_SECURITY_POLICY", policy("'self'"))],
        ],
        [
            ([caddy("'self'")], "x-gateway-caddy: command[1]"),
            ([caddy("'self'", "wss://api.example.com", "https:")], "x-gateway-caddy: command[1]"),
            ([caddy("*")], "x-gateway-caddy: command[1]"),
            (
                [
                    APP_DOMAIN,
                    own("VITE_WSS_BASE_URL", "wss://wss.example.com/api/v1"),
                    variable("CONTENT_SECURITY_POLICY", policy("'self'")),
                ],
                "variable-CONTENT_SECURITY_POLICY: value",
            ),
        ],
    ),
    # --- The stack: who is asked for a login?
    "stack-frontend-login-asked": Cases(
        [
            [gateway("VITE_API_BASE_URL=https://app.example.com/api/v1", LOGIN)],
            [own("VITE_API_BASE_URL"), hidden("UI_LOGIN_SHA256")],
            [variable("API_URL", "https://api.example.com"), gateway("MODE=x")],
        ],
        [
            ([gateway("VITE_API_BASE_URL=https://app.example.com/api/v1")], "x-gateway-caddy: envs"),
            ([gateway("VITE_API_BASE_URL=https://app.example.com", "UI_LOGIN_SHA256=")], "x-gateway-caddy: envs"),
            ([own("VITE_API_BASE_URL")], "variables at Vercel"),
            ([own("VITE_API_BASE_URL"), hidden("UI_LOGIN_SHA256", sensitive=False)], "variables at Vercel"),
        ],
    ),
    "stack-artifact-host-keyed": Cases(
        [[ingress(ARTIFACTS), gateway(secret(f"GATEWAY_KEY={LONG}"))], [ingress(API), GATEWAY]],
        [
            ([ingress(ARTIFACTS), GATEWAY], _ONE),
            ([ingress(rule_for("artifact.example.com", "http://localhost:9090"))], _ONE),
            ([ingress(rule_for("shop-artifact.example.com")), GATEWAY], _ONE),
            ([ingress(API, ARTIFACTS), gateway("GATEWAY_KEY=")], "ingress: config.ingresses[1].service"),
        ],
    ),
    "stack-access-checked-at-origin": Cases(
        [
            [
                application(),
                ingress(rule_for("app.example.com", originRequest={"access": {"required": True, "teamName": "acme"}})),
            ],
            [application(), ingress(API)],
        ],
        [
            ([application(), ingress(rule_for("app.example.com"))], "ingress: config.ingresses[0].originRequest.access"),
            (
                [application(domain="api.example.com/v1"), ingress(rule_for("api.example.com", originRequest={"access": {}}))],
                "ingress: config.ingresses[0].originRequest.access",
            ),
        ],
    ),
    # --- The stack: the zone's firewall and TLS
    "stack-zone-firewall-present": Cases(
        [[ingress(API), ruleset(BLOCK)], [ingress()], [container()]],
        [
            ([ingress(API), ruleset(LIMIT, phase=RATE_LIMIT_PHASE)], "ingress: Ruleset"),
            ([ingress(API), ruleset()], "ingress: Ruleset"),
            ([ingress(API)], "ingress: Ruleset"),
        ],
    ),
    "stack-zone-rate-limited": Cases(
        [[ingress(API), ruleset(LIMIT, phase=RATE_LIMIT_PHASE)], [ingress()]],
        [([ingress(API), ruleset(BLOCK)], "ingress: Ruleset"), ([ingress(API)], "ingress: Ruleset")],
    ),
    "stack-zone-https-set": Cases(
        [[ingress(API), setting("always_use_https", "on")], [ingress()]],
        [([ingress(API)], "ingress: ZoneSetting"), ([ingress(API), setting("ssl", "full")], "ingress: ZoneSetting")],
    ),
    "stack-zone-tls-set": Cases(
        [[ingress(API), setting("min_tls_version", "1.2")], [ingress()]],
        [([ingress(API)], "ingress: ZoneSetting"), ([ingress(API), setting("tls_1_3", "on")], "ingress: ZoneSetting")],
    ),
}
