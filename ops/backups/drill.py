"""``ops drill``: the newest set, restored into containers that are thrown away, compared, and served by Skyvern itself.

Everything shares the network of its own PostgreSQL, which has loopback alone: whatever is in the set, it reaches nothing.
Schedules are off. The verdict is noted where ``ops status`` and ``ops doctor`` see it; "could not run" is not a pass.
Not here: putting a set in place (ops/deploy/restore.py).
"""

import base64
import json
import re
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from components.endpoints import SERVER_PORT
from components.host.postgres import DATABASE, ROLE
from components.host.skyvern import PROFILE, SKYVERN_ID
from ops.backups import copies, notes
from ops.backups.copies import Copy, Purpose, Source, Unfit
from ops.backups.preflight import KEPT
from ops.clients.docker import PYTHON, Docker
from ops.clients.terminal import Progress
from ops.errors import UserError, explained
from ops.observe.backups import DRILL_FILE, Drill, Verdict, age, parse_drill
from ops.stack import file
from ops.stack.stack import Stack

SERVE_SECONDS = 300
# Asked as a program asks, with the stack's own key.
_ASK = f"""
import json, os, urllib.request
request = urllib.request.Request(
    "http://127.0.0.1:{SERVER_PORT}/api/v1/workflows?page=1&page_size=100", headers={{"x-api-key": os.environ["SKYVERN_API_KEY"]}}
)
with urllib.request.urlopen(request, timeout=60) as answer:
    print(len(json.load(answer)))
"""
# A workflow that needs neither a model nor a page.
RUN_SECONDS = 120
_RUN = f"""
import json, os, time, urllib.request
def ask(method, path, body=None):
    headers = {{"x-api-key": os.environ["SKYVERN_API_KEY"], "Content-Type": "application/json"}}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request("http://127.0.0.1:{SERVER_PORT}" + path, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
blocks = [{{"block_type": "wait", "label": "wait", "wait_sec": 1}}]
definition = {{"title": "Trial", "workflow_definition": {{"parameters": [], "blocks": blocks}}}}
workflow = ask("POST", "/v1/workflows", {{"json_definition": definition}})["workflow_permanent_id"]
run = ask("POST", "/v1/run/workflows", {{"workflow_id": workflow}})["run_id"]
end = time.monotonic() + {RUN_SECONDS}
while True:
    status = ask("GET", "/v1/runs/" + run)["status"]
    if status not in ("created", "queued", "running") or time.monotonic() > end:
        break
    time.sleep(1)
print(status)
"""
# What images/server/skyvern-start says of variables that it needs.
_NOT_SET = re.compile(r"not set: ([A-Z0-9_]+(?:, [A-Z0-9_]+)*)")
# The second as GET /v1/workflows chooses (1.0.56, repositories/workflows.py): the last version of each, and neither what a
# prompt was made into nor what the copilot tries.
_COUNTS = """
SELECT count(*) FROM workflow_runs;
SELECT least(count(*), 100) FROM (
  SELECT DISTINCT ON (workflow_permanent_id) status FROM workflows
  WHERE deleted_at IS NULL AND organization_id = :'organization'
    AND created_by IS DISTINCT FROM 'copilot_test'
  ORDER BY workflow_permanent_id, version DESC
) AS newest WHERE status IN ('published', 'draft');
"""


def drill(stack: Stack, progress: Progress) -> Drill:
    """The verdict, noted; everything that was made for it is gone. UserError where not even the verdict can be noted.

    One that is interrupted is noted as well, before the interruption goes on.
    """
    docker = stack.docker()
    source = copies.source(stack)
    image = source.references["backup"]
    began, at = time.monotonic(), datetime.now(UTC)
    name = reason = ""
    verdict: Verdict = "passed"
    interruption = None
    try:
        with notes.alone(stack):
            clear(docker, stack, "drill")
            try:
                name = _try(source, progress)
            finally:
                clear(docker, stack, "drill")
    except Unfit as failed:
        verdict, reason = "could not run", str(failed)
    except UserError as failed:
        verdict, reason = "failed", str(failed)
    except KeyboardInterrupt as ended:
        interruption, verdict, reason = ended, "could not run", "it was interrupted"
    good = at if verdict == "passed" else _last_good(stack, docker, image)
    result = Drill(at=at, set=name, seconds=round(time.monotonic() - began), verdict=verdict, reason=reason, last_good=good)
    notes.write(stack, docker, image, DRILL_FILE, result.to_json())
    if interruption is not None:
        raise interruption
    return result


def record(stack: Stack, passed: Drill) -> str:
    """Writes the day of a drill into the stack file, for the policy stack-restore-drilled; a line that says what is next."""
    day = passed.at.date().isoformat()
    file.write_settings(stack.file, {"backup": {"drilled": day}})
    return f"{stack.file_name}: backup.drilled: {day}; commit it"


def _last_good(stack: Stack, docker: Docker, image: str) -> datetime | None:
    try:
        before = parse_drill(notes.read(stack, docker, image, DRILL_FILE) or "null")
    except (ValueError, KeyError, TypeError):
        return None
    return before.last_good if before else None


def _try(source: Source, progress: Progress) -> str:
    """Name of the newest set, which can be restored and served; UserError if it cannot."""
    record = source.record("latest")
    hours = getattr(source.settings.backup, "max_age_hours", 0)
    old = int((datetime.now(UTC) - record.at).total_seconds())
    if old > hours * 3600:
        raise UserError(f"the newest set, {record.name}, is {age(old)} old, and {hours} h are allowed")
    copies.refuse_newer(source, record)
    with copies.filled(source, "drill", record, progress) as copy:
        copies.quiet(copy)
        serve(copy, progress)
    return record.name


def run_server(
    copy: Copy, environment: Mapping[str, str], *arguments: str, name: str, flags: tuple[str, ...], timeout_seconds: float = 120
) -> str:
    """Output of a container as the stack's server, on the copy and without any network but its PostgreSQL's.

    environment: as of server_environment. arguments: its command, by default to serve. flags: of ``docker run``, ``--rm`` or
    ``--detach``.
    """
    return copy.source.docker.run_with(
        environment,
        *("run", *flags, f"--name={name}", *KEPT),
        *(f"--memory={copy.source.settings.server.memory_mib}m", f"--network=container:{copy.postgres}"),
        *(f"--user={SKYVERN_ID}:{SKYVERN_ID}", f"--security-opt=seccomp={PROFILE}", "--shm-size=512m"),
        *("--tmpfs=/tmp:mode=1777,exec,size=1024m", "--tmpfs=/home/skyvern:mode=1777,size=256m", *copy.mounts()),
        *(f"--env={one}" for one in environment),
        copy.source.references["server"],
        *arguments,
        timeout_seconds=timeout_seconds,
    )


def serve(copy: Copy, progress: Progress) -> float:
    """Migrates the copy, starts Skyvern on it as the stack's own server is started, asks it for its workflows and runs one.

    The seconds that migrations and start took. UserError if it does not serve.
    """
    environment = server_environment(copy)
    try:
        return _serve(copy, environment, progress)
    except NotSetError as lacks:
        # A version that needs more than the stack's server has been given. Its values are made by the next up.
        copy.source.docker.run("rm", "--force", copy.source.stack.prefix(f"{copy.purpose}-server"))
        made = {name: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode() for name in lacks.names}
        return _serve(copy, {**environment, **made}, progress)


class NotSetError(UserError):
    """Skyvern's start lacks variables. names: of these."""

    def __init__(self, log: str, names: list[str]) -> None:
        super().__init__(f"Skyvern does not start on the restored data: {log}")
        self.names = names


def _serve(copy: Copy, environment: Mapping[str, str], progress: Progress) -> float:
    docker, stack = copy.source.docker, copy.source.stack
    organization = json.loads(stack.pulumi("stack", "output", "--json")).get("organization_id", "")
    name = stack.prefix(f"{copy.purpose}-server")
    run_server(copy, environment, name=name, flags=("--detach",))
    before = _counts(copy, organization)[0]
    began = time.monotonic()
    while not _is_healthy(docker, name):
        state = json.loads(docker.run("inspect", "--format", "{{json .State}}", name))
        if not state["Running"] or time.monotonic() - began > SERVE_SECONDS:
            log = copies.last_lines(docker, name)[-600:]
            if lacks := _NOT_SET.search(log):
                raise NotSetError(log, lacks[1].split(", "))
            raise UserError(f"Skyvern does not start on the restored data: {log}")
        time.sleep(2)
    seconds = time.monotonic() - began
    progress(f"Skyvern serves the restored data, after {seconds:.0f} s")
    try:
        answered = int(docker.run("exec", name, *PYTHON, _ASK))
    except (UserError, ValueError) as failed:
        raise UserError(f"Skyvern does not answer on the restored data: {failed}") from failed
    after, workflows = _counts(copy, organization)
    if answered != workflows:
        raise UserError(f"Skyvern shows {answered} workflows, and the restored database has {workflows}")
    if after != before:
        raise UserError(f"the copy has started {after - before} runs by itself")
    with explained(lambda failed: f"Skyvern starts no run on the restored data: {failed}"):
        status = docker.run("exec", name, *PYTHON, _RUN, timeout_seconds=RUN_SECONDS + 60).strip()
    if status != "completed":
        raise UserError(f"a run on the restored data is {status} after {RUN_SECONDS} s")
    progress(f"its API shows {answered} workflows; no run has started by itself, and one that was asked for is completed")
    return seconds


def server_environment(copy: Copy) -> Mapping[str, str]:
    """That of the stack's server, with the copy's database and without schedules."""
    name = copy.source.stack.prefix("server")
    try:
        elements = copy.source.docker.environment_of(name)
    except UserError as failed:
        raise Unfit(f"the stack has no server whose settings could be used ({failed})") from failed
    environment = dict(element.split("=", 1) for element in elements)
    password = urlsplit(environment["DATABASE_STRING"]).password
    return {
        **{key: value for key, value in environment.items() if key != "PATH"},
        "DATABASE_STRING": f"postgresql+psycopg://{ROLE}:{password}@127.0.0.1:5432/{DATABASE}",
        "ENABLE_WORKFLOW_SCHEDULES": "false",
    }


def _is_healthy(docker: Docker, name: str) -> bool:
    try:
        docker.run("exec", name, "skyvern-healthy", timeout_seconds=20)
    except UserError:
        return False
    return True


def _counts(copy: Copy, organization: str) -> tuple[int, int]:
    """Runs in the copy's database, and the workflows that the API shows at most a page of."""
    runs, workflows = copy.sql(f"\\set organization '{organization}'\n{_COUNTS}").split()
    return int(runs), int(workflows)


def clear(docker: Docker, stack: Stack, purpose: Purpose) -> None:
    """Containers and volumes of a copy that is thrown away, also of one whose command was killed."""
    copies.remove_containers(docker, stack, purpose)
    if names := copies.volumes(docker, stack, purpose):
        docker.run("volume", "rm", "--force", *names)
