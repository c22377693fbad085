"""The section about the monitor: the dashboard."""

from pydantic import Field

from components.settings.base import Section


class MonitorSettings(Section):
    """A dashboard of runs, failures, costs and schedules at `/dashboard`, behind the UI's login (docs/monitoring.md)."""

    enabled: bool = Field(
        False,
        description="Whether the stack has it: one container, a role of the database that reads counts, titles and times and "
        "nothing else, and a network to the gateway.",
        examples=["true"],
    )
