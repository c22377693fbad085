"""Skyvern 1.0.56 as far as the modules of images/server know it: rows in lists, runs that last until a test finishes them.

tests/unit/images/test_run_gate.py compares the names and parameters with the wheel. On the real server: tests/host.
"""

import asyncio
import contextlib
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.support import server_image

NOW = datetime(2026, 1, 31, 12)
LONG_AGO = NOW - timedelta(hours=1)
MODULES = ("start_report", "at_start", "run_gate", "lost_files", "interrupted_runs", "drain")


class Status(StrEnum):
    """Of runs and tasks."""

    created = "created"
    queued = "queued"
    running = "running"
    paused = "paused"
    completed = "completed"
    canceled = "canceled"
    failed = "failed"

    def is_final(self) -> bool:
        return self in {"completed", "canceled", "failed"}


class HTTPError(Exception):
    """fastapi.HTTPException."""

    def __init__(self, status_code: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status_code, self.detail, self.headers = status_code, detail, headers or {}


class ClientError(Exception):
    """botocore.exceptions.ClientError."""

    def __init__(self, response: dict[str, Any]) -> None:
        super().__init__(response)
        self.response = response


# --- SQLAlchemy, over rows in lists ----------------------------------------------------------------------------------------

Row = Any


class Predicate:
    def __init__(self, holds: Callable[[Row], bool]) -> None:
        self.holds = holds

    def __and__(self, other: "Predicate") -> "Predicate":
        return Predicate(lambda row: self.holds(row) and other.holds(row))

    def __or__(self, other: "Predicate") -> "Predicate":
        return Predicate(lambda row: self.holds(row) or other.holds(row))


class Column:
    def __init__(self, name: str) -> None:
        self.name = name

    def of(self, row: Row) -> Any:
        return getattr(row, self.name)

    def __eq__(self, value: object) -> Predicate:  # type: ignore[override]
        return Predicate(lambda row: self.of(row) == value)

    def __ne__(self, value: object) -> Predicate:  # type: ignore[override]
        return Predicate(lambda row: self.of(row) != value)

    def __hash__(self) -> int:
        return hash(self.name)

    def __lt__(self, value: Any) -> Predicate:
        return Predicate(lambda row: self.of(row) < value)

    def __ge__(self, value: Any) -> Predicate:
        return Predicate(lambda row: self.of(row) >= value)

    def is_(self, value: None) -> Predicate:
        return Predicate(lambda row: self.of(row) is value)

    def isnot(self, value: None) -> Predicate:
        return Predicate(lambda row: self.of(row) is not value)

    def in_(self, values: Iterable[Any]) -> Predicate:
        return Predicate(lambda row: self.of(row) in values)

    def notin_(self, values: "Query | Sequence[Any]") -> Predicate:
        return Predicate(lambda row: self.of(row) not in (values.values() if isinstance(values, Query) else values))


class Coalesce(Column):
    def __init__(self, *columns: Column) -> None:
        self.columns = columns

    def of(self, row: Row) -> Any:
        return next((column.of(row) for column in self.columns if column.of(row) is not None), None)


class Max:
    def __init__(self, column: Column) -> None:
        self.column = column


class Model(type):
    """A table: its attributes are columns."""

    rows: list[Row]

    def __getattr__(cls, name: str) -> Any:
        column = Column(name)
        vars(column)["model"] = cls
        return column


class Query:
    def __init__(self, selected: Any) -> None:
        self.maximum = isinstance(selected, Max)
        if isinstance(selected, Max):
            selected = selected.column
        self.column = selected if isinstance(selected, Column) else None
        self.model = vars(selected)["model"] if self.column else selected
        self.predicates: list[Predicate] = []
        self.order: Column | None = None

    def where(self, *predicates: Predicate) -> "Query":
        self.predicates += predicates
        return self

    def order_by(self, column: Column) -> "Query":
        self.order = column
        return self

    def all(self) -> list[Any]:
        return self.values() if self.column else self.rows()

    def rows(self) -> list[Row]:
        rows = [row for row in self.model.rows if all(predicate.holds(row) for predicate in self.predicates)]
        return sorted(rows, key=self.order.of) if self.order else rows

    def values(self) -> list[Any]:
        assert self.column is not None
        return [self.column.of(row) for row in self.rows()]


class Session:
    async def scalars(self, query: Query) -> Query:
        return query

    async def scalar(self, query: Query) -> Any:
        assert query.maximum
        return max(query.values(), default=None)


# --- Skyvern ---------------------------------------------------------------------------------------------------------------


class Runs:
    """What runs, and for how long.

    began, ended: ids, in order. most: at one time. inside: id -> what the run does before it waits for ``finish``.
    """

    def __init__(self) -> None:
        self.began: list[str] = []
        self.ended: list[str] = []
        self.most = 0
        self.inside: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {}
        self._finish: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    @property
    def now(self) -> list[str]:
        return [run for run in self.began if run not in self.ended]

    async def work(self, run_id: str) -> None:
        self.began.append(run_id)
        self.most = max(self.most, len(self.now))
        try:
            if run_id in self.inside:
                await self.inside[run_id]()
            await self._finish[run_id].wait()
        finally:
            self.ended.append(run_id)
        if run_id.endswith("fails"):
            raise RuntimeError(run_id)

    async def finish(self, *run_ids: str) -> None:
        for run_id in run_ids:
            self._finish[run_id].set()
            await settle()


async def settle() -> None:
    """Everything that can go on without time going on."""
    for _ in range(40):
        await asyncio.sleep(0)


class Skyvern:
    """The application that a module's ``configure_app`` gets, and what it does and holds.

    questions: run -> how often the executor asks the database for it in the background. webhooks: kind, id and status.
    claims: attempts that were released. log: what structlog got. objects: URI -> content, of a storage for S3.
    """

    def __init__(self) -> None:
        self.runs = Runs()
        self.questions: Counter[str] = Counter()
        self.tasks: dict[str, Any] = {}
        self.tasks_v2: dict[str, Any] = {}
        self.attempts: dict[str, list[Any]] = {}
        self.sessions: dict[str, Any] = {}
        self.webhooks: list[tuple[str, str, str]] = []
        self.claims: list[tuple[str, int]] = []
        self.log: list[tuple[str, dict[str, Any]]] = []
        self.executor: Any = None
        self.objects: dict[str, bytes] = {}
        self.settings = SimpleNamespace(SKYVERN_STORAGE_TYPE="local")
        self.models = {
            name: Model(name, (), {"rows": []})
            for name in ("WorkflowRunModel", "WorkflowRunGroupItemModel", "TaskModel", "ArtifactModel")
        }
        of = SimpleNamespace
        self.app = of(
            api_app_startup_event=None,
            STORAGE=of(async_client=of(get_object_info=self.get_object_info)),
            WORKFLOW_SERVICE=of(
                execute_workflow=self.execute_workflow,
                execute_workflow_webhook=self.execute_workflow_webhook,
                mark_workflow_run_as_failed_if_not_final=self.mark_workflow_run_as_failed_if_not_final,
                setup_workflow_run=self.make("workflow run"),
            ),
            PERSISTENT_SESSIONS_MANAGER=of(
                create_session=self.create_session, cleanup_stale_sessions=self.cleanup_stale_sessions
            ),
            agent=of(
                execute_step=self.execute_step, execute_task_webhook=self.execute_task_webhook, create_task=self.make("task")
            ),
            DATABASE=of(
                workflow_runs=of(Session=self.session, update_workflow_run=self.update_workflow_run),
                workflow_run_attempts=of(
                    get_attempts=self.get_attempts, release_stale_dispatch_claim=self.release_stale_dispatch_claim
                ),
                artifacts=of(update_artifact_uri=self.update_artifact_uri, delete_artifacts_by_ids=self.delete_artifacts_by_ids),
                tasks=of(get_task=self.get_task, update_task=self.update_task, get_task_steps=self.get_task_steps),
                observer=of(
                    get_task_v2=self.get_task_v2,
                    get_task_v2_by_workflow_run_id=self.get_task_v2_by_workflow_run_id,
                    update_task_v2=self.update_task_v2,
                ),
                organizations=of(get_organization=self.get_organization),
                browser_sessions=of(get_persistent_browser_session=self.get_persistent_browser_session),
            ),
        )

    # Rows

    @property
    def workflow_runs(self) -> list[Any]:
        return self.models["WorkflowRunModel"].rows

    def add_run(self, run_id: str, status: str, **columns: Any) -> Any:
        """A row of workflow_runs, unchanged for an hour."""
        made: dict[str, Any] = dict.fromkeys(
            ("browser_session_id", "debug_session_id", "failure_reason", "job_id", "parent_workflow_run_id", "queued_at")
        )
        made |= {"workflow_schedule_id": None, "workflow_id": "w_1", "workflow_permanent_id": "wpid_1", "organization_id": "o_1"}
        made |= {"workflow_run_id": run_id, "status": Status(status), "created_at": LONG_AGO, "modified_at": LONG_AGO}
        row = SimpleNamespace(**(made | columns))
        self.workflow_runs.append(row)
        return row

    def add_task(self, task_id: str, status: str, **columns: Any) -> Any:
        """A row of tasks, with one step."""
        made: dict[str, Any] = {"task_id": task_id, "status": Status(status), "workflow_run_id": None, "organization_id": "o_1"}
        made |= {"failure_reason": None, "created_at": LONG_AGO, "modified_at": LONG_AGO, "steps": ["step"]}
        row = SimpleNamespace(**(made | columns))
        self.tasks[task_id] = row
        self.models["TaskModel"].rows.append(row)
        return row

    def add_task_v2(self, task_id: str, run_id: str) -> Any:
        row = SimpleNamespace(observer_cruise_id=task_id, workflow_run_id=run_id, organization_id="o_1", status=Status.running)
        self.tasks_v2[task_id] = row
        return row

    def run(self, run_id: str) -> Any:
        return next((row for row in self.workflow_runs if row.workflow_run_id == run_id), None)

    # WORKFLOW_SERVICE

    async def execute_workflow(self, **kwargs: Any) -> None:
        await self.runs.work(kwargs["workflow_run_id"])

    async def execute_workflow_webhook(self, workflow_run: Any, *, api_key: str, claim_kind: None) -> None:
        self.webhooks.append(("workflow", workflow_run.workflow_run_id, workflow_run.status))

    async def mark_workflow_run_as_failed_if_not_final(
        self, *, workflow_run_id: str, failure_reason: str, cascade_children: bool
    ) -> Any:
        row = self.run(workflow_run_id)
        assert cascade_children
        if row.status.is_final():
            return None
        row.status, row.failure_reason = Status.failed, failure_reason
        return row

    def make(self, kind: str) -> Callable[..., Coroutine[Any, Any, str]]:
        async def makes(*args: object, **kwargs: object) -> str:
            return kind

        return makes

    # PERSISTENT_SESSIONS_MANAGER

    async def create_session(self, organization_id: str, *, session_kind: str) -> Any:
        session_id = f"pbs_{len(self.sessions) + 1}"
        # Starting a browser takes a while.
        await asyncio.sleep(0)
        session = SimpleNamespace(persistent_browser_session_id=session_id, completed_at=None, status="running")
        self.sessions[session_id] = session
        return session

    async def cleanup_stale_sessions(self) -> None:
        await asyncio.sleep(0)

    # agent

    async def execute_step(
        self, organization: object, task: Any, step: object, api_key: str | None = None, **rest: object
    ) -> None:
        await self.runs.work(task.task_id)

    async def execute_task_webhook(self, task: Any, api_key: str) -> None:
        self.webhooks.append(("task", task.task_id, task.status))

    # DATABASE

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        yield Session()

    async def update_workflow_run(self, *, workflow_run_id: str, job_id: str) -> None:
        self.run(workflow_run_id).job_id = job_id

    async def get_attempts(self, run_id: str) -> Sequence[Any]:
        return self.attempts.get(run_id, [])

    async def release_stale_dispatch_claim(
        self, run_id: str, organization_id: str, attempt_number: int, *, stale_before: datetime
    ) -> bool:
        assert stale_before > NOW
        self.claims.append((run_id, attempt_number))
        return True

    async def get_task(self, task_id: str, organization_id: str | None = None) -> Any:
        found = self.tasks.get(task_id)
        return SimpleNamespace(**vars(found)) if found else None

    async def update_task(
        self, task_id: str, status: Status, failure_reason: str | None = None, organization_id: str | None = None
    ) -> Any:
        self.tasks[task_id].status, self.tasks[task_id].failure_reason = status, failure_reason
        return self.tasks[task_id]

    async def get_task_steps(self, task_id: str, organization_id: str) -> list[str]:
        steps: list[str] = self.tasks[task_id].steps
        return steps

    async def get_task_v2(self, task_v2_id: str, organization_id: str | None = None) -> Any:
        return self.tasks_v2.get(task_v2_id)

    async def get_task_v2_by_workflow_run_id(self, run_id: str, organization_id: str) -> Any:
        return next((row for row in self.tasks_v2.values() if row.workflow_run_id == run_id), None)

    async def update_task_v2(self, task_v2_id: str, *, status: Status, organization_id: str) -> Any:
        self.tasks_v2[task_v2_id].status = status
        return self.tasks_v2[task_v2_id]

    def add_artifact(self, artifact_id: str, uri: str, *, kind: str = "recording", **columns: Any) -> Any:
        """A row of artifacts of the run wr_1."""
        made = {"workflow_run_id": "wr_1", "task_id": None, "organization_id": "o_1", "artifact_type": kind}
        row = SimpleNamespace(artifact_id=artifact_id, uri=uri, **(made | columns))
        self.models["ArtifactModel"].rows.append(row)
        return row

    async def update_artifact_uri(self, artifact_id: str, organization_id: str, uri: str) -> None:
        (row,) = (row for row in self.models["ArtifactModel"].rows if row.artifact_id == artifact_id)
        assert row.organization_id == organization_id
        row.uri = uri

    async def delete_artifacts_by_ids(self, *, organization_id: str, artifact_ids: Sequence[str]) -> None:
        rows = self.models["ArtifactModel"].rows
        rows[:] = [row for row in rows if row.artifact_id not in artifact_ids or row.organization_id != organization_id]

    async def get_object_info(self, uri: str) -> dict[str, Any]:
        if uri not in self.objects:
            raise ClientError({"ResponseMetadata": {"HTTPStatusCode": 404}})
        return {"ContentLength": len(self.objects[uri])}

    async def get_organization(self, organization_id: str) -> Any:
        return SimpleNamespace(organization_id=organization_id) if organization_id == "o_1" else None

    async def get_persistent_browser_session(self, session_id: str) -> Any:
        return self.sessions.get(session_id)

    # services

    async def run_task_v2(self, *, organization: object, task_v2_id: str, browser_session_id: None = None) -> None:
        await self.runs.work(task_v2_id)

    async def execute_script(self, *, script_id: str) -> None:
        await self.runs.work(script_id)

    async def send_task_v2_webhook(self, task_v2: Any) -> None:
        self.webhooks.append(("task v2", task_v2.observer_cruise_id, task_v2.status))


async def submit(skyvern: Skyvern, run_id: str, **kwargs: Any) -> None:
    """A workflow run as the API, the UI and schedules submit it."""
    scope = {"block_labels": None, "block_outputs": None, "background_tasks": object()}
    await skyvern.executor.execute_workflow(**(scope | {"workflow_run_id": run_id} | kwargs))


async def submit_task(skyvern: Skyvern, task_id: str) -> asyncio.Task[Any]:
    """A single task as the API submits it: "running" before its first step is scheduled (1.0.56)."""
    row = skyvern.tasks.get(task_id) or skyvern.add_task(task_id, "running")
    task: asyncio.Task[Any] = skyvern.executor._schedule(
        object(), skyvern.app.agent.execute_step, "organization", SimpleNamespace(**vars(row)), "step"
    )
    await asyncio.sleep(0)
    return task


async def open_session(skyvern: Skyvern, kind: str = "api") -> str:
    """A browser session; its id."""
    session = await skyvern.app.PERSISTENT_SESSIONS_MANAGER.create_session("o_1", session_kind=kind)
    return str(session.persistent_browser_session_id)


def executor_of(skyvern: Skyvern) -> type:
    """Skyvern's executor: what it starts, it starts through ``_schedule``."""

    class BackgroundTaskExecutor:
        def __init__(self) -> None:
            self._scheduled_retry_resumes: set[tuple[str, int]] = set()
            self.tasks: list[asyncio.Task[Any]] = []

        def _schedule(
            self, background_tasks: Any, func: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any, **kwargs: Any
        ) -> asyncio.Task[Any]:
            assert background_tasks is None
            task = asyncio.get_running_loop().create_task(func(*args, **kwargs))
            self.tasks.append(task)
            return task

        async def _resume_pending_retry(self, attempt: Any) -> None:
            key = (attempt.workflow_run_id, attempt.attempt_number)
            try:
                await attempt.due.wait()
                kwargs = {"workflow_run_id": attempt.workflow_run_id, "attempt_number": attempt.attempt_number + 1}
                await self._dispatch_retry_resume(attempt, kwargs)
            finally:
                self._scheduled_retry_resumes.discard(key)

        async def _dispatch_retry_resume(self, attempt: Any, execution_kwargs: dict[str, Any]) -> None:
            for _ in range(skyvern.questions[attempt.workflow_run_id]):
                await asyncio.sleep(0)
            if attempt.workflow_run_id.endswith("lost"):
                raise ConnectionError(attempt.workflow_run_id)
            await skyvern.app.WORKFLOW_SERVICE.execute_workflow(**execution_kwargs)

        async def execute_workflow(self, **kwargs: Any) -> None:
            run_id = kwargs["workflow_run_id"]
            row = skyvern.run(run_id)
            if row is not None:
                row.status = Status.queued
            await asyncio.sleep(0)
            if run_id.endswith("refused"):
                raise ValueError(run_id)
            passed = {"workflow_run_id": run_id, "browser_session_id": kwargs.get("browser_session_id")}
            attempt = SimpleNamespace(workflow_run_id=run_id, attempt_number=1)
            self._schedule(kwargs.get("background_tasks"), self._dispatch_retry_resume, attempt, passed)

        async def execute_task_v2(
            self,
            request: None,
            background_tasks: object,
            organization_id: str,
            task_v2_id: str,
            max_steps_override: None,
            *,
            browser_session_id: None,
        ) -> None:
            organization = await skyvern.get_organization(organization_id)
            self._schedule(background_tasks, skyvern.run_task_v2, organization=organization, task_v2_id=task_v2_id)

        async def _get_valid_api_key(self, organization_id: str) -> str:
            return f"key of {organization_id}"

    return BackgroundTaskExecutor


def install(skyvern: Skyvern, monkeypatch: pytest.MonkeyPatch, folder: Path) -> SimpleNamespace:
    """Puts doubles in place of Skyvern's packages and loads the modules of images/server: each by its name.

    folder: for the state file.
    """

    class Factory:
        @staticmethod
        def set_executor(executor: object) -> None:
            skyvern.executor = executor

        @staticmethod
        def get_executor() -> object:
            return skyvern.executor

    class LocalWorkflowScheduleScheduler:
        async def dispatch_due_schedules(self) -> list[str]:
            return ["due"]

    def log(event: str, **rest: Any) -> None:
        skyvern.log.append((event, rest))

    logger = SimpleNamespace(info=log, warning=log, exception=log)
    sdk = "skyvern.forge.sdk"
    contents: dict[str, dict[str, Any]] = {
        "fastapi": {"BackgroundTasks": object, "HTTPException": HTTPError},
        "structlog": {"get_logger": lambda: logger},
        "sqlalchemy": {"select": Query, "func": SimpleNamespace(coalesce=Coalesce, max=Max)},
        "botocore.exceptions": {"ClientError": ClientError},
        "skyvern.config": {"settings": skyvern.settings},
        f"{sdk}.api.files": {"parse_uri_to_path": lambda uri: unquote(urlsplit(uri).path)},
        "skyvern.forge": {"app": skyvern.app},
        f"{sdk}.executor.background_task_executor": {"BackgroundTaskExecutor": executor_of(skyvern)},
        f"{sdk}.executor.factory": {"AsyncExecutorFactory": Factory},
        f"{sdk}.schemas.tasks": {"TaskStatus": Status},
        f"{sdk}.schemas.task_v2": {"TaskV2Status": Status},
        f"{sdk}.schemas.persistent_browser_sessions": {
            "is_final_status": lambda status: status in {"completed", "failed", "timeout"}
        },
        f"{sdk}.db.datetime_utils": {"naive_utc_now": lambda: NOW},
        f"{sdk}.db.models": dict(skyvern.models),
        "skyvern.services": {"task_v2_service": SimpleNamespace(send_task_v2_webhook=skyvern.send_task_v2_webhook)},
        "skyvern.services.workflow_schedule_service": {"LocalWorkflowScheduleScheduler": LocalWorkflowScheduleScheduler},
    }
    for name in ("skyvern", sdk, "botocore", *(f"{sdk}.{part}" for part in ("api", "executor", "schemas", "db"))):
        contents.setdefault(name, {})
    for name, names in contents.items():
        double = ModuleType(name)
        vars(double).update(names)
        monkeypatch.setitem(sys.modules, name, double)
    modules = SimpleNamespace()
    for name in MODULES:
        module = server_image.load(f"{name}.py", monkeypatch)
        monkeypatch.setitem(sys.modules, name, module)
        setattr(modules, name, module)
        if name == "run_gate":
            monkeypatch.setattr(module, "STATE", folder / "run-gate.json")
    return modules
