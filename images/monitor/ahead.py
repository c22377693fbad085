"""Asks for the days that are over before a person does, because the first page of a day would wait for them."""

import threading
import time
from datetime import UTC, datetime

import dashboard
import psycopg
import queries
from config import Config

LOOK_SECONDS = 60


class Ahead:
    """At the start, and after each midnight of the stack's time zone; again in a minute where the database does not answer."""

    def __init__(self, config: Config, past: queries.Past) -> None:
        self.config, self.past = config, past
        self._prepared: datetime | None = None

    def turn(self, now: datetime) -> None:
        """Asks once a day."""
        today = queries.last_days(1, self.config.zone, now).since
        if self._prepared == today:
            return
        try:
            with queries.reading(self.config.database, self.past) as reader:
                if not reader.ready():
                    return
                for days in dashboard.PERIODS.values():
                    for organization in self.config.organizations.values():
                        reader.spending(organization, queries.last_days(days, self.config.zone, now))
        except psycopg.Error:
            # The page says why.
            return
        self._prepared = today

    def run(self) -> None:
        """For as long as the container runs."""
        while True:
            self.turn(datetime.now(UTC))
            time.sleep(LOOK_SECONDS)


def start(config: Config, past: queries.Past) -> None:
    """Begins to ask."""
    threading.Thread(target=Ahead(config, past).run, daemon=True, name="ahead").start()
