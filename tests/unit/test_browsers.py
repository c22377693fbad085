"""What each kind of browser makes of the server, and the server image's own parts that hold a browser or share one."""

import asyncio
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from components.host.skyvern import PROFILE
from components.settings import Settings
from ops.paths import ROOT
from tests import program
from tests.program import Program, plain

SERVER_IMAGE = ROOT / "images/server"
CHROME = {"type": "cdp-connect", "url": "http://10.222.222.1:9222/"}
# Flags of clone(2) that make namespaces, as linux/sched.h has them.
NAMESPACES = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}


def build(browser: dict[str, Any]) -> Program:
    return program.run(Settings.model_validate({"browser": browser}))


def profile_of(run: Program) -> dict[str, Any] | None:
    """The seccomp profile that the server is sent; None for Docker's own."""
    options = run.container("server").inputs["securityOpts"]
    assert "no-new-privileges:true" in options
    (found,) = [option.partition("=")[2] for option in options if option.startswith("seccomp=")] or [None]
    return None if found is None else dict(json.loads(found))


def rules_for(name: str) -> list[dict[str, Any]]:
    return [rule for rule in json.loads(PROFILE.read_text())["syscalls"] if name in rule["names"]]


# --- The program ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["headless", "headful"])
def test_a_browser_of_the_stack_keeps_its_sandbox(kind: str) -> None:
    run = build({"type": kind})
    assert profile_of(run) == json.loads(PROFILE.read_text())
    environment = run.environment("server")
    assert environment["BROWSER_SANDBOX"] == "true"
    assert environment["BROWSER_TYPE"] == f"chromium-{kind}"
    assert "--no-sandbox" not in environment["BROWSER_ADDITIONAL_ARGS"]
    assert "BROWSER_REMOTE_DEBUGGING_URL" not in environment
    assert run.container("egress").inputs.get("ports", []) == []


def test_without_a_sandbox_the_server_has_dockers_profile() -> None:
    run = build({"sandbox": False})
    assert profile_of(run) is None
    assert run.environment("server")["BROWSER_SANDBOX"] == "false"


def test_a_chrome_elsewhere_has_the_proxy_on_loopback_and_the_server_no_profile() -> None:
    run = build({**CHROME, "host_header": "10.222.222.1:9222", "proxy_port": 3200})
    assert profile_of(run) is None
    environment = run.environment("server")
    assert environment["BROWSER_TYPE"] == "cdp-connect"
    assert environment["BROWSER_STREAMING_MODE"] == "cdp"
    assert environment["BROWSER_REMOTE_DEBUGGING_URL"] == "http://10.222.222.1:9222/"
    assert environment["BROWSER_REMOTE_DEBUGGING_HOST_HEADER"] == "10.222.222.1:9222"
    assert not {"BROWSER_ADDITIONAL_ARGS", "BROWSER_LOCALE", "BROWSER_SANDBOX"} & environment.keys()
    # Chrome's machine is no exception to Skyvern's URL validation: workflows must not open it.
    assert json.loads(environment["ALLOWED_HOSTS"]) == ["smoke-site"]
    assert run.container("egress").inputs["ports"] == [{"ip": "127.0.0.1", "external": 3200, "internal": 3128, "protocol": "tcp"}]
    # Docker publishes a port on the first network, and not on one that is internal.
    assert run.container("egress").inputs["networkMode"] == "skyvern-dev-outgoing"
    assert plain(run.outputs["browser_type"]) == "cdp-connect"
    assert "BROWSER_REMOTE_DEBUGGING_HOST_HEADER" not in build(CHROME).environment("server")


# --- The profile ---------------------------------------------------------------------------------------------------------


def test_the_profile_lets_chromium_make_its_namespaces_and_no_others() -> None:
    for name in ("clone", "unshare"):
        (rule,) = rules_for(name)
        (condition,) = rule["args"]
        assert (condition["index"], condition["op"], condition["valueTwo"]) == (0, "SCMP_CMP_MASKED_EQ", 0)
        forbidden = {kind for kind, flag in NAMESPACES.items() if flag & condition["value"]}
        assert forbidden == {"mount", "cgroup", "uts", "ipc"}
    (unseen,) = rules_for("clone3")
    assert (unseen["action"], unseen["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


def test_what_a_namespace_would_make_dangerous_stays_closed() -> None:
    for name in (
        "mount",
        "umount2",
        "setns",
        "pivot_root",
        "bpf",
        "keyctl",
        "add_key",
        "ptrace",
        "perf_event_open",
        "io_uring_setup",
    ):
        assert rules_for(name) == [], name
    assert json.loads(PROFILE.read_text())["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = [tuple((arg["index"], arg["op"], arg["value"]) for arg in rule["args"]) for rule in rules_for("socket")]
    # Families below netlink, and of netlink routes and device events; not the packet filter (12).
    assert allowed == [
        ((0, "SCMP_CMP_LT", 16),),
        ((0, "SCMP_CMP_EQ", 16), (2, "SCMP_CMP_EQ", 0)),
        ((0, "SCMP_CMP_EQ", 16), (2, "SCMP_CMP_EQ", 15)),
    ]
    # A 32-bit program has other numbers and socketcall, whose arguments no filter sees.
    assert all(one["subArchitectures"] == [] for one in json.loads(PROFILE.read_text())["archMap"])
    assert rules_for("socketcall") == []


# --- The wrapper ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sandbox", "kept"),
    [
        (None, ["--headless", "--proxy-server=http://e:1", "--disable-dev-shm-usage", "a b", "", "about:blank"]),
        ("true", ["--headless", "--proxy-server=http://e:1", "--disable-dev-shm-usage", "a b", "", "about:blank"]),
        ("anything", ["--headless", "--proxy-server=http://e:1", "--disable-dev-shm-usage", "a b", "", "about:blank"]),
        (
            "false",
            [
                "--headless",
                "--no-sandbox",
                "--proxy-server=http://e:1",
                "--disable-setuid-sandbox",
                "--disable-dev-shm-usage",
                "a b",
                "",
                "about:blank",
            ],
        ),
    ],
)
def test_only_a_clear_no_keeps_the_flags_against_the_sandbox(tmp_path: Path, sandbox: str | None, kept: list[str]) -> None:
    chromium = tmp_path / "chromium"
    chromium.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    chromium.chmod(0o755)
    script = (SERVER_IMAGE / "sandboxed-chromium").read_text()
    assert script.count("/usr/lib/chromium/chromium") == 1
    wrapper = script.replace("/usr/lib/chromium/chromium", str(chromium))
    given = ["--headless", "--no-sandbox", "--proxy-server=http://e:1", "--disable-setuid-sandbox", "--disable-dev-shm-usage"]
    environment = {} if sandbox is None else {"BROWSER_SANDBOX": sandbox}
    ran = subprocess.run(
        ["sh", "-c", wrapper, "chrome", *given, "a b", "", "about:blank"], env=environment, capture_output=True, check=True
    )
    assert json.loads(ran.stdout) == kept


# --- One run at a time ---------------------------------------------------------------------------------------------------


class Executor:
    """The methods of Skyvern's executor that the module knows, as 1.0.56 has them."""

    def __init__(self) -> None:
        self._scheduled_retry_resumes: set[tuple[str, int]] = set()
        self.running: list[str] = []
        self.most = 0
        self.finished: list[str] = []
        self.events: dict[str, asyncio.Event] = {}

    def _schedule(
        self, background_tasks: None, func: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any
    ) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(func(*args))

    async def _resume_pending_retry(self, attempt: Any) -> None:
        await self.events["retry"].wait()
        await self._dispatch_retry_resume(attempt, {})

    async def _dispatch_retry_resume(self, attempt: Any, execution_kwargs: dict[str, Any]) -> None:
        await self.work(attempt.workflow_run_id)

    async def work(self, name: str) -> None:
        self.running.append(name)
        self.most = max(self.most, len(self.running))
        await asyncio.sleep(0)
        await self.events[name].wait()
        self.running.remove(name)
        self.finished.append(name)
        if name == "fails":
            raise RuntimeError(name)


class Attempt:
    def __init__(self, name: str) -> None:
        self.workflow_run_id, self.attempt_number = name, 1


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module with doubles for Skyvern's modules, which are in its image only."""
    chosen: list[Any] = []

    class Factory:
        set_executor = staticmethod(chosen.append)

    doubles: dict[str, dict[str, Any]] = {
        "fastapi": {"BackgroundTasks": object},
        "skyvern.forge.sdk.executor.background_task_executor": {"BackgroundTaskExecutor": Executor},
        "skyvern.forge.sdk.executor.factory": {"AsyncExecutorFactory": Factory},
    }
    for name, names in doubles.items():
        double = ModuleType(name)
        vars(double).update(names)
        monkeypatch.setitem(sys.modules, name, double)
    for package in ("skyvern", "skyvern.forge", "skyvern.forge.sdk", "skyvern.forge.sdk.executor"):
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    spec = importlib.util.spec_from_file_location("one_run_at_a_time", SERVER_IMAGE / "one_run_at_a_time.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)["chosen"] = chosen
    return module


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_runs_of_every_kind_take_turns_in_their_order(turns: ModuleType) -> None:
    async def story() -> Any:
        one = turns.OneRunAtATime()
        one.events = {name: asyncio.Event() for name in ("workflow", "fails", "task", "retry", "again")}
        tasks = [
            one._schedule(None, one._dispatch_retry_resume, Attempt("workflow"), {}),
            one._schedule(None, one.work, "fails"),
            one._schedule(None, one._dispatch_retry_resume, Attempt("task"), {}),
            # Sleeps until its time has come, and holds nobody up meanwhile.
            one._schedule(None, one._resume_pending_retry, Attempt("again")),
        ]
        await settle()
        assert one.running == ["workflow"]
        # Marked as somebody's, so that Skyvern's recovery leaves it alone; the one that runs is no longer.
        assert one._scheduled_retry_resumes == {("task", 1)}
        for name in ("workflow", "fails", "task", "retry", "again"):
            one.events[name].set()
            await settle()
        await asyncio.gather(*tasks, return_exceptions=True)
        return one

    one = asyncio.run(story())
    assert one.finished == ["workflow", "fails", "task", "again"]
    assert one.most == 1
    assert one._scheduled_retry_resumes == set()


def test_a_run_that_is_cancelled_while_it_waits_holds_nobody_up(turns: ModuleType) -> None:
    async def story() -> Any:
        one = turns.OneRunAtATime()
        one.events = {name: asyncio.Event() for name in ("first", "second", "third")}
        first, second, third = (one._schedule(None, one._dispatch_retry_resume, Attempt(name), {}) for name in one.events)
        await settle()
        second.cancel()
        for event in one.events.values():
            event.set()
        await asyncio.gather(first, second, third, return_exceptions=True)
        return one

    one = asyncio.run(story())
    assert one.finished == ["first", "third"]
    assert one._scheduled_retry_resumes == set()


def test_it_becomes_skyverns_executor_and_a_changed_skyvern_fails_the_start(
    turns: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns.configure_app(None)
    assert [type(one) for one in vars(turns)["chosen"]] == [turns.OneRunAtATime]
    for name in ("_schedule", "_resume_pending_retry", "_dispatch_retry_resume"):
        with monkeypatch.context() as change:
            change.delattr(Executor, name)
            with pytest.raises(RuntimeError, match=f"executor has no {name};"):
                turns.configure_app(None)
    monkeypatch.setattr(Executor, "__init__", lambda self: None)
    with pytest.raises(RuntimeError, match="executor has no _scheduled_retry_resumes;"):
        turns.configure_app(None)
    assert len(vars(turns)["chosen"]) == 1
