"""The resources that the guide people start from deploys, to the letter; and what is wrong with them.

The guide (Korean, of November 2025) clones Skyvern, fills its .env and says ``docker-compose up -d``, so the containers are those
of Skyvern's compose file with the guide's settings. Its tunnel and its project at Vercel are ``EDGE``. ``FORUM`` is a second
stack: what people add when that does not do what they want. ``MISTAKES`` names the rule that objects to each mistake.
"""

from typing import Any

from policy.rules import cloudflare, skyvern, vercel
from policy.rules.containers import CONTAINER, NETWORK, REMOTE_IMAGE, VOLUME
from policy.rules.random import BYTES, PASSWORD
from tests.policy.pack import Sent

_HOST = [{"host": "host.docker.internal", "ip": "host-gateway"}]


def _port(number: int) -> dict[str, Any]:
    # As compose has it: "8000:8000", on every address.
    return {"internal": number, "external": number}


def _bind(source: str, target: str) -> dict[str, Any]:
    return {"hostPath": source, "containerPath": target}


# .env of the guide's section 3.3, with the Chrome of its section 7.1.
_ENVIRONMENT = [
    "DATABASE_STRING=postgresql+psycopg://skyvern:skyvern@postgres:5432/skyvern",
    "BROWSER_TYPE=cdp-connect",
    "BROWSER_REMOTE_DEBUGGING_URL=http://host.docker.internal:9222/",
    'ALLOWED_ORIGINS=["https://your-app.vercel.app", "https://yourdomain.com", "*"]',
    "ENABLE_OPENAI=true",
    "LLM_KEY=OPENAI_GPT4O_MINI",
    "OPENAI_API_KEY=sk-your-openai-key",
    "ENV=production",
    "LOG_LEVEL=DEBUG",
    "AWS_ENDPOINT_URL=http://minio.yourdomain.com:9000",
    "SECRET_KEY=your-secure-secret-key-here",
]
# What people add to get a message.
_CHAT = "DISCORD_WEBHOOK_URL=https://discord.example.com/api/webhooks/1/h00k"
# What providers of PostgreSQL show first.
_MANAGED = ["PGHOST=db.example.com", "PGSSLMODE=require"]
_SKYVERN = "public.ecr.aws/skyvern/skyvern:latest"
# What people add when Docker in WSL does not do what they want: forums' answers to the guide's troubleshooting section.
_DESPERATE: dict[str, Any] = {
    "privileged": True,
    "networkMode": "host",
    "pidMode": "host",
    "ipcMode": "host",
    "usernsMode": "host",
    "cgroupParent": "/",
    "securityOpts": ["seccomp=unconfined", "apparmor=unconfined", "label=disable"],
    "capabilities": {"adds": ["SYS_ADMIN"]},
    "devices": [{"hostPath": "/dev/dri"}],
    "gpus": "all",
    "publishAllPorts": True,
    "user": "root",
}

GUIDE = [
    Sent("pulumi:providers:docker", "default", {"host": "tcp://wsl:2375"}),
    Sent("pulumi:providers:docker", "ambient", {}),
    Sent(NETWORK, "default", {"name": "skyvern_default", "driver": "bridge"}),
    Sent(VOLUME, "postgres-data", {"name": "postgres-data"}),
    Sent(REMOTE_IMAGE, "skyvern", {"name": _SKYVERN}),
    Sent(PASSWORD, "ui", {"length": 8, "special": True}),
    Sent(BYTES, "vault", {"length": 32}),
    Sent(
        CONTAINER,
        "postgres",
        {
            "name": "postgres",
            "image": "postgres:14-alpine",
            "envs": ["POSTGRES_USER=skyvern", "POSTGRES_PASSWORD=skyvern", "POSTGRES_DB=skyvern", "PGPASSWORD=k3jd9"],
            "ports": [_port(5432)],
            "volumes": [{"volumeName": "postgres-data", "containerPath": "/var/lib/postgresql/data"}],
            "networksAdvanced": [{"name": "skyvern_default", "aliases": ["postgres"]}],
            "restart": "always",
        },
    ),
    Sent(
        CONTAINER,
        "skyvern",
        {
            "name": "skyvern",
            "image": _SKYVERN,
            "envs": _ENVIRONMENT,
            "hosts": _HOST,
            "ports": [_port(8000), _port(9222), _port(443)],
            "volumes": [
                _bind("/mnt/c/chrome-skyvern-profile", "/profile"),
                {"volumeName": "artifacts", "containerPath": "/data/artifacts"},
                _bind("/home/me/skyvern/.streamlit", "/app/.streamlit"),
            ],
            "networksAdvanced": [{"name": "skyvern_default", "aliases": ["skyvern"]}],
            "memory": 4096,
        },
    ),
    # Before section 7.1, with the browser of section 3.3.
    Sent(CONTAINER, "skyvern-headful", {"image": _SKYVERN, "envs": ["BROWSER_TYPE=chromium-headful", _CHAT, *_MANAGED]}),
    Sent(
        CONTAINER,
        "skyvern-ui",
        {
            "name": "skyvern-ui",
            "image": "public.ecr.aws/skyvern/skyvern-ui:latest",
            "envs": ["VITE_SKYVERN_API_KEY=your-api-key-from-settings"],
            "ports": [_port(8080), _port(9090)],
            "volumes": [
                {"volumeName": "artifacts", "containerPath": "/data/artifacts"},
                _bind("/home/me/skyvern/.streamlit", "/app/.streamlit"),
            ],
            "networksAdvanced": [{"name": "skyvern_default", "aliases": ["skyvern-ui"]}],
        },
    ),
    Sent(
        CONTAINER,
        "ollama",
        {
            "name": "ollama",
            "image": "ollama/ollama:latest",
            "mounts": [
                {"type": "bind", "source": "/var/run/docker.sock", "target": "/var/run/docker.sock"},
                {"type": "bind", "source": "/srv", "target": "/srv", "bindOptions": {"propagation": "rshared"}},
            ],
            **_DESPERATE,
        },
    ),
]

_DOMAIN = "yourdomain.com"
_TUNNEL_ID = "c1744f8b-faa1-48a4-9e5c-02ac921467fa"


def _record(name: str, type_: str, content: str, **more: Any) -> Sent:
    return Sent(cloudflare.RECORD, name, {"name": f"{name}.{_DOMAIN}", "type": type_, "content": content, **more})


def _into_the_tunnel(name: str) -> Sent:
    # ``cloudflared tunnel route dns`` makes proxied ones.
    return _record(name, "CNAME", f"{_TUNNEL_ID}.cfargotunnel.com", proxied=True)


def _variable(key: str, value: str, **more: Any) -> Sent:
    # The dashboard ticks every environment.
    targets = ["production", "preview", "development"]
    inputs = {"projectId": "prj_1", "key": key, "value": value, "sensitive": False, "targets": targets}
    return Sent(vercel.VARIABLE, key, inputs | more)


def _setting(id_: str, value: Any) -> Sent:
    return Sent(cloudflare.SETTING, id_, {"settingId": id_, "value": value})


# Sections 2 and 4.
EDGE = [
    Sent(cloudflare.TUNNEL, "backend", {"name": "skyvern-backend", "tunnelSecret": "c2VjcmV0"}),
    Sent(
        cloudflare.INGRESS,
        "config.yml",
        {
            "tunnelId": _TUNNEL_ID,
            "source": "local",
            "config": {
                "ingresses": [
                    {"hostname": f"api.{_DOMAIN}", "service": "http://localhost:8000"},
                    {
                        "hostname": f"wss.{_DOMAIN}",
                        "service": "http://localhost:8000",
                        "originRequest": {"noTlsVerify": True},
                    },
                    {"hostname": f"artifact.{_DOMAIN}", "service": "http://localhost:9090"},
                    {"service": "http_status:404"},
                ]
            },
        },
    ),
    _into_the_tunnel("api"),
    _into_the_tunnel("artifact"),
    Sent(
        vercel.PROJECT,
        "skyvern-frontend",
        {"name": "skyvern-frontend", "rootDirectory": "skyvern-frontend", "framework": "vite", "gitForkProtection": False},
    ),
    _variable("VITE_API_BASE_URL", f"https://api.{_DOMAIN}/api/v1"),
    _variable("VITE_WSS_BASE_URL", f"wss://api.{_DOMAIN}/api/v1"),
    _variable("VITE_ARTIFACT_API_BASE_URL", f"https://artifact.{_DOMAIN}"),
    _variable("VITE_SKYVERN_API_KEY", "your-api-key-from-settings"),
    _variable("VITE_ENVIRONMENT", "production"),
]

_NO_FRILLS = {"enabled": False, "include_subdomains": True, "max_age": 0, "preload": True}
# Answers to the guide's troubleshooting section, and its alternatives: port forwarding, an agent's quick start.
FORUM = [
    Sent("pulumi:providers:cloudflare", "everything", {"apiKey": "0123456789abcdef", "email": "me@yourdomain.com"}),
    Sent("pulumi:providers:cloudflare", "token", {"apiToken": "t0k3n" * 8, "baseUrl": "http://proxy.lan/client/v4"}),
    Sent(
        cloudflare.INGRESS,
        "quick",
        {
            "config": {
                "ingresses": [
                    {"hostname": f"app.{_DOMAIN}", "service": "http://skyvern:8000"},
                    {"hostname": f"*.{_DOMAIN}", "service": "ssh://skyvern:22"},
                    {"service": "http://skyvern:8000"},
                ]
            }
        },
    ),
    _into_the_tunnel("old"),
    _record("*", "A", "192.168.0.10"),
    _record("www", "CNAME", "https://your-app.vercel.app", proxied=True),
    _setting("always_use_https", "off"),
    _setting("automatic_https_rewrites", "off"),
    _setting("development_mode", "on"),
    _setting("min_tls_version", "1.0"),
    _setting("security_header", {"strict_transport_security": _NO_FRILLS}),
    _setting("ssl", "flexible"),
    _setting("tls_1_3", "off"),
    _setting("websockets", "off"),
    Sent(cloudflare.DNSSEC, "zone", {"status": "disabled"}),
    Sent(
        cloudflare.RULESET,
        "waf",
        {"phase": cloudflare.FIREWALL_PHASE, "rules": [{"action": "skip"}, {"action": "block", "enabled": False}]},
    ),
    Sent(
        cloudflare.RULESET,
        "limit",
        {"phase": cloudflare.RATE_LIMIT_PHASE, "rules": [{"action": "block", "ratelimit": {"characteristics": ["cf.colo.id"]}}]},
    ),
    Sent(cloudflare.BUCKET, "dumps", {"name": "skyvern-dumps"}),
    Sent(
        cloudflare.BUCKET_LOCK, "old", {"bucketName": "skyvern-old", "rules": [{"enabled": False, "condition": {"type": "Date"}}]}
    ),
    Sent(
        cloudflare.USER_TOKEN,
        "s3",
        {
            "policies": [
                {
                    "effect": "allow",
                    "permissionGroups": [{"id": "bf7481a1826f439697cb59a20b22293e"}],
                    "resources": '{"com.cloudflare.api.account.0123456789abcdef0123456789abcdef": "*"}',
                }
            ]
        },
    ),
    Sent(cloudflare.ACCESS_POLICY, "all", {"decision": "bypass", "includes": [{"everyone": {}}]}),
    Sent(
        cloudflare.ACCESS_APPLICATION,
        "ui",
        {"domain": f"app.{_DOMAIN}", "sessionDuration": "720h", "httpOnlyCookieAttribute": False},
    ),
    Sent(CONTAINER, "skyvern", {"hostname": "skyvern", "networksAdvanced": [{"name": "backend"}], "image": _SKYVERN}),
    Sent(
        CONTAINER,
        "cloudflared",
        {
            "image": "cloudflare/cloudflared:latest",
            "command": ["tunnel", "run", "--token", "eyJhIjoi"],
            "envs": ["TUNNEL_LOGLEVEL=debug"],
            "networksAdvanced": [{"name": "skyvern_default"}],
        },
    ),
    Sent(
        CONTAINER,
        "caddy",
        {
            "image": "caddy",
            "envs": ["VITE_WSS_BASE_URL=ws://localhost:8000/api/v1"],
            "command": [
                "caddy",
                'header Content-Security-Policy "default-src *"',
            ],
            "networksAdvanced": [{"name": "skyvern_default"}],
        },
    ),
    Sent(CONTAINER, "squid", {"image": "squid", "command": ["http_access allow all"]}),
    Sent("pulumi:providers:vercel", "account", {"apiToken": "abcdefghijklmnopqrstuvwx"}),
    Sent(
        vercel.PROJECT,
        "ui",
        {
            "publicSource": True,
            "directoryListing": True,
            "customerSuccessCodeVisibility": True,
            "passwordProtection": {"password": "hunter2", "deploymentType": "all_deployments"},
            "environments": [{"key": "MODE", "value": "production"}],
        },
    ),
    _variable("SKYVERN_API_KEY", "eyJhbGciOiJIUzI1NiJ9.e30.x"),
    Sent(vercel.DEPLOYMENT, "now", {"environment": {"SKYVERN_API_KEY": "eyJhbGciOiJIUzI1NiJ9.e30.x"}}),
    Sent(vercel.FIREWALL, "waf", {"enabled": False}),
    # Sections 7.2 and 11: the blog's workflow, as it is clicked together in the UI.
    Sent("pulumi:providers:skyvern", "laptop", {"url": "http://192.168.0.10:8000", "apiKey": "eyJhbGciOi"}),
    Sent(skyvern.CREDENTIAL, "naver", {"name": "naver", "type": "password", "values": {"password": "hunter2"}}),
    Sent(
        skyvern.WORKFLOW,
        "blog",
        {
            "name": "blog",
            "definition": {
                "title": "Blog",
                "webhook_callback_url": "http://n8n.lan:5678/webhook",
                "workflow_definition": {
                    "parameters": [{"parameter_type": "workflow", "key": "publish", "default_value": True}],
                    "blocks": [
                        {"block_type": "login", "label": "log_in", "navigation_goal": "아이디: shop, 비밀번호: hunter2"},
                        {"block_type": "code", "label": "write", "code": "await page.keyboard.type('안녕하세요')"},
                    ],
                },
            },
        },
    ),
    Sent(
        skyvern.SCHEDULE,
        "every-morning",
        {"name": "every-morning", "cron": "0 9 * * *", "timezone": "UTC", "parameters": {"password": "hunter2"}},
    ),
    Sent(CONTAINER, "runs-it", {"envs": ["BROWSER_TIMEZONE=Asia/Seoul", "CODE_BLOCK_MODE=disabled"]}),
]

# Mistake -> rule that refuses it, and where.
MISTAKES = {
    "the database's default password": ("docker-container-secrets-not-default", "skyvern: envs[DATABASE_STRING]"),
    "the database's password in its own container": ("docker-container-secrets-not-default", "postgres: envs[POSTGRES_PASSWORD]"),
    "a placeholder as SECRET_KEY": ("docker-container-secrets-not-default", "skyvern: envs[SECRET_KEY]"),
    "a password of five letters": ("docker-container-passwords-long", "postgres: envs[PGPASSWORD]"),
    "every origin allowed": ("docker-container-origins-exact", "skyvern: envs[ALLOWED_ORIGINS]"),
    "the provider's API key in plain text": ("docker-container-secrets-encrypted", "skyvern: envs[OPENAI_API_KEY]"),
    "the artifact server beside the credentials folder": ("stack-credentials-unpublished", "skyvern-ui: volumes"),
    "the artifact server published": ("stack-port-one-door", "skyvern-ui: ports"),
    "the API on every address": ("docker-container-ports-on-loopback", "skyvern: ports[0].ip"),
    "the artifact server on every address": ("docker-container-ports-on-loopback", "skyvern-ui: ports[1].ip"),
    "the database published": ("docker-container-datastore-unpublished", "postgres: ports[0]"),
    "the published API on the database's network": ("stack-datastore-apart", "skyvern: networksAdvanced"),
    "Chrome's debugging port published": ("docker-container-debugging-unpublished", "skyvern: ports[1]"),
    "a browser that listens on Windows": ("stack-browser-elsewhere-proxied", "skyvern: envs[BROWSER_REMOTE_DEBUGGING_URL]"),
    "a browser without an egress proxy": ("stack-browser-egress-proxied", "skyvern-headful: envs[BROWSER_ADDITIONAL_ARGS]"),
    "services of the host called": ("docker-container-host-unreached", "skyvern: hosts[0].ip"),
    "a port of the system's own": ("docker-container-ports-unprivileged", "skyvern: ports[2].external"),
    "latest as the server's image": ("docker-container-image-pinned", "skyvern: image"),
    "latest pulled": ("docker-image-pinned", "skyvern: name"),
    "an image of whoever owns the name": ("docker-container-image-trusted", "ollama: image"),
    "no memory limit": ("docker-container-memory-limited", "postgres: memory"),
    "as much swap again": ("docker-container-swap-limited", "skyvern: memorySwap"),
    "no CPU limit": ("docker-container-cpu-limited", "skyvern: cpus"),
    "no health check": ("docker-container-health-checked", "skyvern: healthcheck.tests"),
    "an update that does not wait for health": ("docker-container-health-awaited", "skyvern: wait"),
    "no restart after a reboot": ("docker-container-restarted", "skyvern: restart"),
    "a log without an end": ("docker-container-logs-rotated", "skyvern: logOpts"),
    "debug logs": ("docker-container-log-level-quiet", "skyvern: envs[LOG_LEVEL]"),
    "the data unprotected": ("docker-volume-protected", "postgres-data: options.protect"),
    "one volume, two writers": ("stack-volume-one-writer", "stack prod: volume artifacts"),
    "root in the container": ("docker-container-user-not-root", "skyvern: user"),
    "a writable root": ("docker-container-root-read-only", "skyvern: readOnly"),
    "Docker's capabilities kept": ("docker-container-capabilities-dropped", "skyvern: capabilities.drops"),
    "setuid at work": ("docker-container-no-new-privileges", "skyvern: securityOpts"),
    "docker0": ("docker-container-network-user-defined", "skyvern: networkMode"),
    "a network that leads out for all": ("docker-network-internal", "default: internal"),
    "a secret that levels.yaml does not name": ("docker-container-secrets-named", "skyvern-ui: envs[VITE_SKYVERN_API_KEY]"),
    "a database elsewhere whose certificate no one checks": (
        "docker-container-database-verified",
        "skyvern-headful: envs[PGHOST]",
    ),
    "a chat's address in plain text": ("docker-container-channels-encrypted", "skyvern-headful: envs[DISCORD_WEBHOOK_URL]"),
    "names that two stacks share": ("stack-name-own", "postgres-data: name"),
    "the Windows profile mounted": ("docker-container-host-folders-harmless", "skyvern: volumes[0].hostPath"),
    "Docker over TCP": ("docker-provider-host-encrypted", "default: host"),
    "whatever daemon the shell names": ("docker-provider-host-named", "ambient: host"),
    "a UI password of eight characters": ("random-password-long", "ui: length"),
    "a password that breaks URLs": ("random-password-url-safe", "ui: special"),
    "a password that nothing brings back": ("random-password-kept", "ui: options.protect"),
    "a key in plain text in the state": ("random-bytes-unused", "vault: id"),
    "privileged": ("docker-container-unprivileged", "ollama: privileged"),
    "the host's network": ("docker-container-network-namespace-own", "ollama: networkMode"),
    "the host's processes": ("docker-container-pid-namespace-own", "ollama: pidMode"),
    "the host's memory": ("docker-container-ipc-namespace-own", "ollama: ipcMode"),
    "the host's users": ("docker-container-user-namespace-own", "ollama: usernsMode"),
    "the host's control group": ("docker-container-cgroup-own", "ollama: cgroupParent"),
    "the host's devices": ("docker-container-devices-absent", "ollama: devices[0]"),
    "GPUs for whoever asks": ("docker-container-gpus-granted", "ollama: gpus"),
    "SYS_ADMIN": ("docker-container-capabilities-not-added", "ollama: capabilities.adds[0]"),
    "no seccomp": ("docker-container-seccomp-on", "ollama: securityOpts[0]"),
    "no AppArmor": ("docker-container-apparmor-on", "ollama: securityOpts[1]"),
    "no SELinux": ("docker-container-selinux-on", "ollama: securityOpts[2]"),
    "Docker's socket in a container": ("docker-container-docker-socket-unmounted", "ollama: mounts[0].source"),
    "mounts that reach the host": ("docker-container-mounts-private", "ollama: mounts[1].bindOptions.propagation"),
    "every port of an image": ("docker-container-ports-chosen", "ollama: publishAllPorts"),
    "a secret that the browser loads": ("docker-container-client-variables-public", "skyvern-ui: envs[VITE_SKYVERN_API_KEY]"),
    # Sections 2 and 4: the tunnel.
    "a host without a record": ("stack-ingress-host-recorded", "config.yml: config.ingresses[1].hostname"),
    "certificates that are not verified": (
        "cloudflare-ingress-tls-verified",
        "config.yml: config.ingresses[1].originRequest.noTlsVerify",
    ),
    "the API at the connector's localhost": ("cloudflare-ingress-origin-elsewhere", "config.yml: config.ingresses[0].service"),
    "the artifact server at the connector's localhost": (
        "cloudflare-ingress-origin-elsewhere",
        "config.yml: config.ingresses[2].service",
    ),
    "the API without a gateway": ("stack-ingress-origin-gateway", "config.yml: config.ingresses[0].service"),
    "streams without a gateway": ("stack-ingress-origin-gateway", "config.yml: config.ingresses[1].service"),
    "the artifact server without a gateway": ("stack-ingress-origin-gateway", "config.yml: config.ingresses[2].service"),
    "origins without a health check": ("stack-ingress-origin-checked", "config.yml: config.ingresses[0].service"),
    "recordings for everyone": ("stack-artifact-host-keyed", "config.yml: config.ingresses[2].service"),
    "a tunnel that a file configures": ("cloudflare-tunnel-managed-remotely", "backend: configSrc"),
    "ingress rules in a file": ("cloudflare-ingress-managed-remotely", "config.yml: source"),
    "a tunnel's name that two stacks share": ("stack-name-own", "backend: name"),
    "a tunnel's secret in plain text": ("cloudflare-tunnel-secret-encrypted", "backend: tunnelSecret"),
    "a tunnel's secret of six bytes": ("cloudflare-tunnel-secret-long", "backend: tunnelSecret"),
    "no firewall": ("stack-zone-firewall-present", "config.yml: Ruleset"),
    "no rate limit": ("stack-zone-rate-limited", "config.yml: Ruleset"),
    "HTTPS left to chance": ("stack-zone-https-set", "config.yml: ZoneSetting"),
    "TLS left to chance": ("stack-zone-tls-set", "config.yml: ZoneSetting"),
    # Section 2: Vercel.
    "the API key in the browser": ("vercel-variable-client-public", "VITE_SKYVERN_API_KEY: key"),
    "a placeholder as API key": ("vercel-variable-secret-not-default", "VITE_SKYVERN_API_KEY: value"),
    "the API key in plain text at Vercel": ("vercel-variable-secret-encrypted", "VITE_SKYVERN_API_KEY: value"),
    "the API key in every branch's build": ("vercel-variable-secret-production-only", "VITE_SKYVERN_API_KEY: targets"),
    "variables of all environments": ("vercel-variable-targets-chosen", "VITE_API_BASE_URL: targets"),
    "builds of strangers": ("vercel-project-forks-asked", "skyvern-frontend: gitForkProtection"),
    "deployments for everyone": (
        "vercel-project-deployments-authenticated",
        "skyvern-frontend: vercelAuthentication.deploymentType",
    ),
    "system variables in the build": (
        "vercel-project-system-variables-hidden",
        "skyvern-frontend: automaticallyExposeSystemEnvironmentVariables",
    ),
    "a UI without a login": ("stack-frontend-login-asked", "stack prod: variables at Vercel"),
    "origins that the stack does not serve": ("stack-origins-served", "skyvern: envs[ALLOWED_ORIGINS]"),
    # What people add.
    "the account's global key": ("cloudflare-provider-token-scoped", "everything: apiKey"),
    "Cloudflare's token in plain text": ("cloudflare-provider-token-encrypted", "token: apiToken"),
    "Cloudflare's API by HTTP": ("cloudflare-provider-url-encrypted", "token: baseUrl"),
    "a bucket that a destroy empties": ("cloudflare-bucket-protected", "dumps: options.protect"),
    "a bucket that whoever has its key empties": ("stack-bucket-locked", "dumps: R2BucketLock"),
    "a lock that is off": ("cloudflare-bucket-lock-lasting", "old: rules[0].enabled"),
    "a lock on what has to be deleted": ("cloudflare-bucket-lock-append-only", "old: rules[0].prefix"),
    "a key for every bucket": ("cloudflare-token-resources-named", "s3: policies[0].resources"),
    "a key that may remove the lock": ("cloudflare-token-permissions-named", "s3: policies[0].permissionGroups[0].id"),
    "every host of the zone": ("cloudflare-ingress-hosts-named", "quick: config.ingresses[1].hostname"),
    "whatever else into the API": ("cloudflare-ingress-catch-all-refused", "quick: config.ingresses[2]"),
    "a shell on the internet": ("cloudflare-ingress-web-only", "quick: config.ingresses[1].service"),
    "an origin that the connector does not reach": ("stack-ingress-origin-reached", "quick: config.ingresses[0].service"),
    "a record of a host that is gone": ("stack-record-routed", "old: name"),
    "port forwarding to the LAN": ("cloudflare-record-address-public", "*: content"),
    "past Cloudflare": ("cloudflare-record-proxied", "*: proxied"),
    "every name there is": ("cloudflare-record-name-exact", "*: name"),
    "a URL as a name": ("cloudflare-record-target-host", "www: content"),
    "HTTP": ("cloudflare-zone-https-forced", "always_use_https: value"),
    "links by HTTP": ("cloudflare-zone-rewrites-on", "automatic_https_rewrites: value"),
    "development mode": ("cloudflare-zone-development-off", "development_mode: value"),
    "TLS 1.0": ("cloudflare-zone-tls-minimum", "min_tls_version: value"),
    "no TLS 1.3": ("cloudflare-zone-tls-1-3-on", "tls_1_3: value"),
    "flexible TLS": ("cloudflare-zone-origin-tls-strict", "ssl: value"),
    "no WebSockets": ("cloudflare-zone-websockets-on", "websockets: value"),
    "no HSTS": ("cloudflare-zone-hsts-on", "security_header: value.strict_transport_security"),
    "HSTS for other people's hosts": (
        "cloudflare-zone-hsts-own-hosts",
        "security_header: value.strict_transport_security.include_subdomains",
    ),
    "no DNSSEC": ("cloudflare-zone-dnssec-on", "zone: status"),
    "a rule that waves through": ("cloudflare-ruleset-rules-decide", "waf: rules[0].action"),
    "a rule that is off": ("cloudflare-ruleset-rules-on", "waf: rules[1].enabled"),
    "one limit for all": ("cloudflare-ruleset-limit-per-address", "limit: rules[0].ratelimit.characteristics"),
    "Access for everyone": ("cloudflare-access-people-named", "all: includes[0]"),
    "Access bypassed": ("cloudflare-access-decides", "all: decision"),
    "a login for a month": ("cloudflare-access-session-short", "ui: sessionDuration"),
    "a login that scripts read": ("cloudflare-access-cookie-unread", "ui: httpOnlyCookieAttribute"),
    "Access at Cloudflare alone": ("stack-access-checked-at-origin", "quick: config.ingresses[0].originRequest.access"),
    "the tunnel's token in the list of processes": ("docker-container-arguments-public", "cloudflared: command[3]"),
    "the connector beside everything": ("stack-connector-apart", "cloudflared: networksAdvanced"),
    "debug logs of the tunnel": ("docker-container-log-level-quiet", "cloudflared: envs[TUNNEL_LOGLEVEL]"),
    "an address that leads nowhere": ("stack-urls-served", "caddy: envs[VITE_WSS_BASE_URL]"),
    "pages that may connect anywhere": ("stack-content-policy-agrees", "caddy: command[1]"),
    "a proxy that lets pages into the network": ("docker-container-proxy-exceptions-narrow", "squid: command[0]"),
    "Vercel's token in plain text": ("vercel-provider-token-encrypted", "account: apiToken"),
    "the source for everyone": ("vercel-project-source-private", "ui: publicSource"),
    "the source for support": ("vercel-project-support-asked", "ui: customerSuccessCodeVisibility"),
    "folders for everyone": ("vercel-project-directories-unlisted", "ui: directoryListing"),
    "a password of seven letters": ("vercel-project-password-long", "ui: passwordProtection.password"),
    "a password in plain text": ("vercel-project-password-encrypted", "ui: passwordProtection.password"),
    "variables in two places": ("vercel-project-variables-apart", "ui: environments"),
    "a secret that the team can read": ("vercel-variable-secret-sensitive", "SKYVERN_API_KEY: sensitive"),
    "a secret in a deployment": ("vercel-deployment-secrets-absent", "now: environment.SKYVERN_API_KEY"),
    "a firewall that is off": ("vercel-firewall-on", "waf: enabled"),
    # Sections 7.2 and 11: workflows.
    "Skyvern's API by HTTP": ("skyvern-provider-url-private", "laptop: url"),
    "Skyvern's key in plain text": ("skyvern-provider-key-encrypted", "laptop: apiKey"),
    "a credential for every site": ("skyvern-credential-site-bound", "naver: tested_url"),
    "a credential in plain text": ("skyvern-credential-values-encrypted", "naver: values"),
    "a password in a prompt": (
        "skyvern-workflow-secrets-absent",
        "blog: definition.workflow_definition.blocks[0].navigation_goal",
    ),
    "a password in a schedule": ("skyvern-schedule-secrets-absent", "every-morning: parameters.password"),
    "a run without an end": ("stack-workflow-time-bounded", "blog: definition.max_elapsed_time_minutes"),
    "a model without an end": (
        "stack-workflow-steps-bounded",
        "blog: definition.workflow_definition.blocks[0].max_steps_per_run",
    ),
    "results by HTTP": ("skyvern-workflow-addresses-https", "blog: definition.webhook_callback_url"),
    "posts that nobody has read": (
        "skyvern-workflow-publishing-off",
        "blog: definition.workflow_definition.parameters[0].default_value",
    ),
    "code that the server refuses": (
        "stack-workflow-code-allowed",
        "blog: definition.workflow_definition.blocks[1].block_type",
    ),
    "nine o'clock in London": ("stack-schedule-zone-same", "every-morning: timezone"),
}
