"""What the guide that people start from deploys, to the letter, as resources of this provider; and what is wrong with it.

The guide (Korean, of November 2025) clones Skyvern, fills its .env and says ``docker-compose up -d``, so the containers are those
of Skyvern's compose file with the guide's settings. ``MISTAKES`` names the rule that refuses each mistake. Here: the Docker host.
"""

from typing import Any

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
    "SECRET_KEY=your-secure-secret-key-here",
]
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
    Sent(CONTAINER, "skyvern-headful", {"image": _SKYVERN, "envs": ["BROWSER_TYPE=chromium-headful"]}),
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

# Mistake -> rule that refuses it, and where.
MISTAKES = {
    "the database's default password": ("docker-container-secrets-not-default", "skyvern: envs[DATABASE_STRING]"),
    "the database's password in its own container": ("docker-container-secrets-not-default", "postgres: envs[POSTGRES_PASSWORD]"),
    "a placeholder as SECRET_KEY": ("docker-container-secrets-not-default", "skyvern: envs[SECRET_KEY]"),
    "a password of five letters": ("docker-container-passwords-long", "postgres: envs[PGPASSWORD]"),
    "every origin allowed": ("docker-container-origins-exact", "skyvern: envs[ALLOWED_ORIGINS]"),
    "the provider's API key in clear": ("docker-container-secrets-encrypted", "skyvern: envs[OPENAI_API_KEY]"),
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
    "nobody waits for health": ("docker-container-health-awaited", "skyvern: wait"),
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
    "a network with a way out for all": ("docker-network-internal", "default: internal"),
    "a secret that nobody named": ("docker-container-secrets-named", "skyvern-ui: envs[VITE_SKYVERN_API_KEY]"),
    "names that two stacks share": ("stack-name-own", "postgres-data: name"),
    "the Windows profile mounted": ("docker-container-host-folders-harmless", "skyvern: volumes[0].hostPath"),
    "Docker over TCP": ("docker-provider-host-encrypted", "default: host"),
    "whatever daemon the shell names": ("docker-provider-host-named", "ambient: host"),
    "a UI password of eight characters": ("random-password-long", "ui: length"),
    "a password that breaks URLs": ("random-password-url-safe", "ui: special"),
    "a password that nothing brings back": ("random-password-kept", "ui: options.protect"),
    "a key that stands in the state": ("random-bytes-unused", "vault: id"),
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
}
