"""Outages while a container is replaced or a secret rotates, and how long they last: for rotations, previews and people."""

from dataclasses import dataclass

# Seen on two cores: 31 and 40 s for a restart of Skyvern, 5 s for one of the gateway.
SERVER_SECONDS = 90
GATEWAY_SECONDS = 15
# The connector gives requests in progress 30 s to end; then it dials Cloudflare again.
CONNECTOR_SECONDS = 90
# A transaction gets 60 s to end (components/host/postgres.py); the start itself takes a few.
POSTGRES_SECONDS = 90


@dataclass(frozen=True)
class Downtime:
    """stops: what is unavailable, as a clause. seconds: upper bound on an idle machine; 0 if unnoticeable."""

    stops: str
    seconds: int


# By the part that a container is (its network alias). Without a handover, the old container goes before the new one comes.
PARTS = {
    "backup": Downtime("sets of the database and the files", 0),
    "artifacts": Downtime("recordings and screenshots", GATEWAY_SECONDS),
    "connector": Downtime("all access from outside; runs go on", CONNECTOR_SECONDS),
    "egress": Downtime("every page that a browser is loading", GATEWAY_SECONDS),
    # Its rules stay in force without it.
    "firewall": Downtime("nothing noticeable", 0),
    "gateway": Downtime("the UI, recordings and access to the API; runs go on", GATEWAY_SECONDS),
    "monitor": Downtime("the dashboard", GATEWAY_SECONDS),
    "ngrok": Downtime("all access from outside; runs go on", CONNECTOR_SECONDS),
    "ollama": Downtime("answers of the model; it is loaded again", SERVER_SECONDS),
    "ollama-pull": Downtime("downloads of models", 0),
    "postgres": Downtime("the API, the UI and every run in progress: the database restarts", POSTGRES_SECONDS),
    "retention": Downtime("nothing noticeable", 0),
    "roles": Downtime("nothing noticeable", 0),
    "server": Downtime("the API, live views and every run in progress", SERVER_SECONDS),
    "smoke-site": Downtime("smoke runs", 0),
}
# Without a published port, the new container of these is healthy before the old one goes (components/host/handover.py). What an
# old one has begun gets its grace to end; Squid cuts connections off after 5 s.
HANDED_OVER = {
    **dict.fromkeys(("artifacts", "connector", "gateway", "monitor", "smoke-site"), Downtime("nothing noticeable", 0)),
    "egress": Downtime("connections that a browser has open; new ones go on", 5),
}
# The secrets that open a session of the UI; its tokens end when one of them rotates.
OPEN_SESSIONS = ("api-key", "ui-login", "gateway")


@dataclass(frozen=True)
class Rotation:
    """One secret that rotates.

    key: its epoch below ``skyvern:rotation``. stops: what does not work meanwhile. seconds: for how long at most.
    afterwards: what a person has to do, with STACK for the stack.
    """

    key: str
    title: str
    stops: str
    seconds: int
    afterwards: str


def of_part(part: str, *, hands_over: bool) -> Downtime:
    """What stops while a part's container is replaced or removed."""
    unknown = Downtime(f"what {part} does", SERVER_SECONDS)
    return HANDED_OVER[part] if hands_over and part in HANDED_OVER else PARTS.get(part, unknown)


ROTATIONS: dict[str, Rotation] = {
    "database": Rotation(
        "database",
        "password of Skyvern's role in PostgreSQL",
        "the API, live views and every run in progress, while Skyvern restarts",
        SERVER_SECONDS,
        "nothing to do: only Skyvern uses this password",
    ),
    "api-key": Rotation(
        "api_key",
        "the organisation's API key",
        "the API, live views and every run in progress, while Skyvern restarts; the UI and recordings for a moment",
        SERVER_SECONDS,
        "the UI opens new sessions by itself; programs get 403 until they have the new key: "
        "pulumi stack output api_key --show-secrets -s STACK",
    ),
    "ui-login": Rotation(
        "ui_login",
        "password of the UI",
        "the UI, recordings and access to the API, while the gateway restarts; runs go on",
        GATEWAY_SECONDS,
        "sessions have ended; people log in with the new password: pulumi stack output ui_password --show-secrets -s STACK",
    ),
    "gateway": Rotation(
        "gateway",
        "key by which Vercel and the gateway know each other",
        "recordings, new logins of the UI and access to the API, while the gateway restarts; runs go on. Vercel builds first, "
        "which stops nothing",
        GATEWAY_SECONDS,
        "nothing to do: the key is on Vercel and in the gateway only",
    ),
    "tunnel": Rotation(
        "tunnel",
        "secret of the Cloudflare Tunnel",
        "all access from outside, while the connector restarts; runs go on",
        CONNECTOR_SECONDS,
        "nothing to do: connectors with the old secret cannot connect again",
    ),
}
