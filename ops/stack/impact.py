"""What does not work while a container of the stack is replaced, and for how long: for rotations, previews and people."""

from dataclasses import dataclass

# Seen on two cores: 31 and 40 s for a restart of Skyvern, 5 s for one of the gateway.
SERVER_SECONDS = 90
GATEWAY_SECONDS = 15
# The connector gives requests in progress 30 s to end; then it dials Cloudflare anew.
CONNECTOR_SECONDS = 90
# A transaction gets 60 s to end (components/host/postgres.py); the start itself takes a few.
POSTGRES_SECONDS = 90


@dataclass(frozen=True)
class Downtime:
    """stops: a clause. seconds: at most, on a machine with little else to do; 0 where nobody notices."""

    stops: str
    seconds: int


# By the part that a container is (its network alias). A name is fixed, so the old container goes before the new one comes.
PARTS = {
    "artifacts": Downtime("recordings and screenshots", GATEWAY_SECONDS),
    "connector": Downtime("all access from outside; runs go on", CONNECTOR_SECONDS),
    "egress": Downtime("every page that a browser is loading", GATEWAY_SECONDS),
    # Its rules stay in force without it.
    "firewall": Downtime("nothing noticeable", 0),
    "gateway": Downtime("the UI, recordings and access to the API; runs go on", GATEWAY_SECONDS),
    "ngrok": Downtime("all access from outside; runs go on", CONNECTOR_SECONDS),
    "ollama": Downtime("answers of the model; it is loaded again", SERVER_SECONDS),
    "ollama-pull": Downtime("downloads of models", 0),
    "postgres": Downtime("the API, the UI and every run in progress: the database restarts", POSTGRES_SECONDS),
    "retention": Downtime("nothing noticeable", 0),
    "roles": Downtime("nothing noticeable", 0),
    "server": Downtime("the API, live views and every run in progress", SERVER_SECONDS),
    "smoke-site": Downtime("smoke runs", 0),
}
