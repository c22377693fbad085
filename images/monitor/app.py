"""The monitor's pages over HTTP: the dashboard, its tables as CSV, metrics, and what a health check asks.

The gateway has logged the person in, and asked for the key of the metrics; nothing else shares a network with this port.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import ahead
import dashboard
import psycopg
import queries
import tables
import texts
from config import Config
from dashboard import Facts, Request
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# No script at all, nothing from elsewhere, and forms lead back here.
HEADERS = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
NO_DATABASE = "The database does not answer. This page tries again when you reload it."
NOT_YET = "Skyvern has not made its tables yet. This page works once the server has started."
NOT_KNOWN = "The database of this version of Skyvern has another form than this page knows."
# A page that is reloaded, or sorted, or saved as CSV, asks the database once.
KEPT_SECONDS = 10.0
MOST_KEPT = 16


class WithHeaders:
    """Every answer has the headers, also one to a wrong address."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = Headers(raw=message["headers"])
                added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items() if name not in present]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)


class Pages:
    """The answers, with the facts of the last few seconds."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._kept: dict[tuple[str, str, str | None, str | None], tuple[float, Facts]] = {}
        self.past = queries.Past()

    def facts(self, request: Request) -> Facts | str:
        """The facts, or why there are none."""
        key = (request.period, request.who, request.workflow, request.result)
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() - kept[0] < KEPT_SECONDS:
            return kept[1]
        try:
            with queries.reading(self.config.database, self.past) as reader:
                if not reader.ready():
                    return NOT_YET
                facts = dashboard.gather(reader, self.config, request, datetime.now(UTC))
        except psycopg.ProgrammingError as wrong:
            # Such as a column that a newer Skyvern no longer has. Without the query's values, and for the log alone.
            print(f"monitor: {wrong.diag.message_primary}", flush=True)
            return NOT_KNOWN
        except psycopg.Error:
            return NO_DATABASE
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[key] = time.monotonic(), facts
        return facts

    def page(self, http: HttpRequest) -> Response:
        """GET /dashboard."""
        request = dashboard.read(http.query_params)
        language = texts.choose(self.config.language, request.language, http.headers.get("accept-language", ""))
        facts = self.facts(request)
        if isinstance(facts, str):
            text = dashboard.page(self.config, request, language, None, facts)
            return Response(text, 503, media_type="text/html", headers={"Retry-After": "15"})
        return Response(dashboard.page(self.config, request, language, facts), media_type="text/html")

    def table(self, http: HttpRequest) -> Response:
        """GET /dashboard/TABLE.csv."""
        name, request = http.path_params["table"], dashboard.read(http.query_params)
        if name not in dashboard.TABLES:
            return PlainTextResponse("there is no such table\n", 404)
        facts = self.facts(request)
        language = texts.choose(self.config.language, request.language, http.headers.get("accept-language", ""))
        say = texts.translator(language)
        if isinstance(facts, str):
            return PlainTextResponse(f"{say(facts)}\n", 503)
        body = tables.as_csv(facts.tables[name], request.orders.get(name), self.config.zone, say)
        file = f"{self.config.stack}-{name}-{facts.now.astimezone(self.config.zone):%Y%m%d}.csv"
        return Response(body, media_type="text/csv", headers={"Content-Disposition": f'attachment; filename="{file}"'})


def style(_: HttpRequest) -> Response:
    """GET /dashboard/style.css."""
    return FileResponse(
        Path(__file__).with_name("style.css"), media_type="text/css", headers={"Cache-Control": "private, max-age=300"}
    )


async def healthy(_: HttpRequest) -> Response:
    """GET /healthz: whether the loop turns. A database that is away is not cured by a restart of this container."""
    return PlainTextResponse("ok\n")


def _metrics(config: Config) -> Callable[[HttpRequest], Response]:
    # Here, because it takes 3 MiB, which a stack without metrics does not have to pay.
    from metrics import Metrics
    from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

    metrics = Metrics(config, datetime.now(UTC))

    def answer(_: HttpRequest) -> Response:
        """GET /metrics."""
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    return answer


def make(config: Config) -> ASGIApp:
    """The application."""
    pages = Pages(config)
    ahead.start(config, pages.past)
    routes = [
        *([Route("/metrics", _metrics(config))] if config.metrics else []),
        Route("/dashboard", pages.page),
        Route("/dashboard/style.css", style),
        Route("/dashboard/{table}.csv", pages.table),
        Route("/healthz", healthy),
    ]
    return WithHeaders(Starlette(routes=routes))
