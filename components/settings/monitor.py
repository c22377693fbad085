"""The section about the monitor: the dashboard, the metrics, and who gets a message when something goes wrong."""

import re
from typing import Annotated

from pydantic import Field, SecretStr

from components.settings.base import PrivateDestinations, Section, each, redacted, secret


def _check_channels(text: str) -> None:
    channels = text.split()
    if not all(re.fullmatch(r"[a-z][a-z0-9]*://\S+", channel) for channel in channels):
        raise redacted("has an address without a kind; write each as KIND://…, separated by spaces")
    if not channels:
        raise redacted("is empty; write an address, or remove it")


def _check_heartbeat(url: str) -> None:
    if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", url):
        raise redacted("is not an address to which /start and /fail can be added; write https://HOST/… without ? and #")


def _hours_problem(hours: str) -> str | None:
    time = r"([01]\d|2[0-3]):[0-5]\d"
    right = re.fullmatch(f"{time}-{time}", hours) and hours[:5] != hours[6:]
    return None if right else "is not two times of a day; write them as 23:00-07:00"


class MonitorSettings(Section):
    """A dashboard of runs, failures, costs and schedules at `/dashboard`, behind the UI's login (docs/monitoring.md)."""

    enabled: bool = Field(
        False,
        description="Whether the stack has it: one container, a role of the database that reads counts, titles and times and "
        "nothing else, and a network to the gateway.",
        examples=["true"],
    )
    channels: Annotated[SecretStr | None, secret(_check_channels)] = Field(
        None,
        description="Who gets a message when something goes wrong: addresses in the form of Apprise, separated by spaces, such "
        "as `tgram://TOKEN/CHAT`, `kakaotalk://CLIENT/REFRESH_TOKEN` or `mailtos://…`. They have keys in them, so set them with "
        "`pulumi config set --secret --path monitor.channels`. With them the monitor gets a network to the internet.",
    )
    quiet_hours: Annotated[str | None, each(_hours_problem)] = Field(
        None,
        description="Local time in which nothing is sent; what came meanwhile is one message at its end.",
        examples=["23:00-07:00"],
    )
    stuck_minutes: int = Field(
        180, ge=5, le=10080, description="Minutes after which a run that does not end, or waits, is worth a message."
    )
    heartbeat: Annotated[SecretStr | None, secret(_check_heartbeat)] = Field(
        None,
        description="Address of a dead man's switch, as healthchecks.io has it: pinged every five minutes while the database and "
        "Skyvern answer, with `/start` when the monitor begins and `/fail` when one of them does not. Whoever has it can send "
        "pings, so set it with `pulumi config set --secret --path monitor.heartbeat`. With it the monitor gets a network to the "
        "internet.",
    )
    metrics: bool = Field(
        False,
        description="Whether `/metrics` of the API's host answers in the format of Prometheus, to a separate key "
        "(`pulumi stack output metrics_key --show-secrets`).",
        examples=["true"],
    )
    allow: PrivateDestinations = Field(
        [],
        description="Private addresses that the monitor may reach besides the internet, `ADDRESS:PORT`: a mail server or a chat "
        "of your network.",
        examples=["[192.168.1.20:587]"],
    )

    @property
    def sends(self) -> bool:
        """Whether it has something to send, and so a network to the internet."""
        return self.channels is not None or self.heartbeat is not None
