"""What each kind of browser makes of the server, and the server image's own parts that hold a browser or share one."""

import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Coroutine
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from components.host.skyvern import PROFILE
from components.settings import Settings
from tests.support import program
from tests.support.program import Program, plain
from tests.support.server_image import FOLDER, load

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
    "time": 0x00000080,
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


@pytest.mark.parametrize(
    ("sections", "runs", "sessions"),
    [({}, "4", "1"), ({"server": {"memory_mib": 8192}}, "10", "2"), ({"server": {"max_runs": 6, "max_sessions": 3}}, "6", "3")],
)
def test_the_server_is_told_how_many_runs_and_sessions_its_memory_has_room_for(
    sections: dict[str, Any], runs: str, sessions: str
) -> None:
    environment = program.run(Settings.model_validate(sections)).environment("server")
    assert (environment["RUN_GATE_MAX_RUNS"], environment["RUN_GATE_MAX_SESSIONS"]) == (runs, sessions)


def test_one_chrome_has_one_run_whatever_the_memory() -> None:
    sections = {"browser": CHROME, "server": {"memory_mib": 65536}}
    environment = program.run(Settings.model_validate(sections)).environment("server")
    assert (environment["RUN_GATE_MAX_RUNS"], environment["RUN_GATE_MAX_SESSIONS"]) == ("1", "1")


@pytest.mark.parametrize(("minutes", "engine"), [(0, ""), (5, ""), (14, ""), (15, "1260s"), (120, "7560s")])
def test_docker_and_the_engine_wait_longer_than_the_server_drains(minutes: int, engine: str) -> None:
    """Behind the drain: END_SECONDS of images/server/drain.py, webhooks, and recordings that are saved.

    Without a word the provider gives up after 20 minutes, and the update fails.
    """
    run = program.run(Settings.model_validate({"server": {"drain_minutes": minutes}}))
    inputs = run.container("server").inputs
    assert run.container("server").delete_timeout == engine
    assert run.environment("server")["DRAIN_SECONDS"] == str(60 * minutes)
    assert inputs["stopTimeout"] == inputs["destroyGraceSeconds"] == 60 * minutes + 60


# --- The profile ---------------------------------------------------------------------------------------------------------


def test_the_profile_lets_chromium_make_its_namespaces_and_no_others() -> None:
    for name in ("clone", "unshare"):
        (rule,) = rules_for(name)
        (condition,) = rule["args"]
        assert (condition["index"], condition["op"], condition["valueTwo"]) == (0, "SCMP_CMP_MASKED_EQ", 0)
        forbidden = {kind for kind, flag in NAMESPACES.items() if flag & condition["value"]}
        assert forbidden == {"mount", "cgroup", "uts", "ipc", "time"}
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
    # Local sockets, TCP and UDP. No netlink, so no packet filter and no new devices; no raw sockets.
    masked = [
        (rule["args"][0]["value"], *(arg.get("valueTwo", arg["value"]) for arg in rule["args"][1:]))
        for rule in rules_for("socket")
    ]
    assert masked == [(1,), *((family, *kind) for family in (2, 10) for kind in ((1, 0), (1, 6), (2, 0), (2, 17)))]
    assert [rule["args"][0]["value"] for rule in rules_for("socketpair")] == [1]
    # From 64 on they are the packet filter's, and 31 puts another protocol on top of TCP.
    for name in ("getsockopt", "setsockopt"):
        options = [[(arg["index"], arg["op"], arg["value"]) for arg in rule["args"]] for rule in rules_for(name)]
        level = [(1, "SCMP_CMP_EQ", number) for number in (1, 6, 0, 41)]
        below = [(2, "SCMP_CMP_LT", number) for number in (31, 64, 64)]
        assert options == [[level[0]], *([one, limit] for one, limit in zip(level[1:], below, strict=True))]
    # Of the requests to sockets (0x89..) those that ask, and the one that brings loopback up.
    requests = {arg["value"] for rule in rules_for("ioctl") for arg in rule["args"] if arg["op"] == "SCMP_CMP_EQ"}
    assert requests == {0x8910, 0x8912, 0x8913, 0x8914, 0x8915, 0x8933}
    # A 32-bit program has other numbers and socketcall, whose arguments no filter sees.
    assert all(one["subArchitectures"] == [] for one in json.loads(PROFILE.read_text())["archMap"])
    assert rules_for("socketcall") == []


# --- The wrapper ---------------------------------------------------------------------------------------------------------


PROXY = "--proxy-server=http://e:1"
AGAINST = ["--no-sandbox", "--disable-setuid-sandbox"]
HARMLESS = ["--headless", PROXY, "--disable-dev-shm-usage", "a b", "", "about:blank"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, list[str], dict[str, str], bool]]:
    """Calls the wrapper by a name: what it would become, with which arguments and environment, and whether apart."""
    wrapper = load("sandboxed")

    def start(called: str, *arguments: str, **environment: str) -> tuple[str, list[str], dict[str, str], bool]:
        apart: list[str] = []
        ran: list[Any] = []

        def enclose(given: list[str]) -> list[str]:
            apart.append("network")
            return given

        monkeypatch.setattr(wrapper, "enclose", enclose)
        monkeypatch.setattr(wrapper, "refuse_other_sockets", lambda: apart.append("sockets"))
        monkeypatch.setattr(wrapper.os, "environ", environment)
        monkeypatch.setattr(wrapper.os, "execve", lambda *given: ran.append(given))
        wrapper.main(called, list(arguments))
        [(program, [own, *rest], given)] = ran
        assert own == program
        assert apart in ([], ["network", "sockets"])
        return program, rest, given, bool(apart)

    return start


@pytest.mark.parametrize("sandbox", [None, "true", "anything"])
def test_chromium_keeps_its_sandbox_and_has_its_own_network(started: Callable[..., Any], sandbox: str | None) -> None:
    environment = {} if sandbox is None else {"BROWSER_SANDBOX": sandbox}
    program, arguments, _, apart = started("/opt/browsers/x/chrome", *AGAINST, *HARMLESS, **environment)
    assert (program, arguments, apart) == ("/usr/lib/chromium/chromium", HARMLESS, True)


def test_only_a_clear_no_does_without(started: Callable[..., Any]) -> None:
    _, arguments, _, apart = started("chrome", *AGAINST, *HARMLESS, BROWSER_SANDBOX="false")
    assert (arguments, apart) == ([*AGAINST, *HARMLESS], False)


@pytest.mark.parametrize("name", ["Xvfb", "ffmpeg", "ffmpeg-linux", "ffprobe", "tesseract"])
def test_programs_that_read_what_pages_send_are_apart_too(started: Callable[..., Any], name: str) -> None:
    program, arguments, _, apart = started(f"/usr/local/bin/{name}", "-i", "--no-sandbox", BROWSER_SANDBOX="true")
    assert (program, arguments, apart) == (f"/usr/bin/{name.removesuffix('-linux')}", ["-i", "--no-sandbox"], True)
    # Of a server whose Chrome is elsewhere, under Docker's own profile.
    assert started(name)[3] is False
    assert started(name, BROWSER_SANDBOX="false")[3] is False


@pytest.mark.parametrize("sandbox", ["true", "false"])
def test_no_secret_of_the_server_is_in_their_environment(started: Callable[..., Any], sandbox: str) -> None:
    kept = {"PATH": "/bin", "HOME": "/home/skyvern", "LC_ALL": "C", "TZ": "Asia/Seoul", "DISPLAY": ":99", "XDG_CACHE_HOME": "/x"}
    dropped = dict.fromkeys(
        ["SECRET_KEY", "LOCAL_CREDENTIAL_VAULT_KEY", "DATABASE_STRING", "SKYVERN_API_KEY", "OPENAI_API_KEY", "A_LATER_ONE"], "x"
    )
    for name in ("chrome", "ffmpeg-linux"):
        assert started(name, **kept, **dropped, BROWSER_SANDBOX=sandbox)[2] == kept


# In a process of its own, which keeps the filter.
_TRY_SOCKETS = """
import ctypes, importlib.machinery, importlib.util, json, socket, sys

loader = importlib.machinery.SourceFileLoader("sandboxed", sys.argv[1])
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("sandboxed", loader))
loader.exec_module(module)
module.refuse_other_sockets()
outcomes = {}
for given in json.loads(sys.argv[2]):
    try:
        socket.socket(*given).close()
        outcomes[str(given)] = "made"
    except PermissionError:
        outcomes[str(given)] = "refused"
    except OSError as failure:
        outcomes[str(given)] = failure.strerror
socket.socketpair()
libc = ctypes.CDLL(None, use_errno=True)
ring = libc.syscall(425, 1, None)
print(json.dumps([outcomes, ring, ctypes.get_errno(), open("/proc/self/status").read().count("Seccomp:\\t2")]))
"""
_MADE = [(1, 1), (1, 2), (2, 1), (2, 2), (10, 1), (10, 2), (2, 1, 6), (2, 2, 17), (2, 1 | 0o2000000)]
_REFUSED = [
    (16, 3),
    (16, 3, 9),
    (17, 3),
    (2, 3, 1),
    (10, 3, 58),
    (2, 1, 132),
    (2, 1, 262),
    (2, 2, 136),
    (2, 2, 1),
    (38, 5),
    (40, 1),
]


def test_no_socket_but_local_ones_tcp_and_udp() -> None:
    """As the profile of one daemon has it (tests/host/test_browsers.py), wherever the browser runs."""
    command = [sys.executable, "-c", _TRY_SOCKETS, str(FOLDER / "sandboxed"), json.dumps([*_MADE, *_REFUSED])]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    outcomes, ring, code, filtered = json.loads(told)
    assert outcomes == {str(list(one)): "made" for one in _MADE} | {str(list(one)): "refused" for one in _REFUSED}
    assert (ring, code, filtered) == (-1, 1, 1)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_both_machines_have_a_filter(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = load("sandboxed")
    monkeypatch.setattr(wrapper.os, "uname", lambda: SimpleNamespace(machine=machine))
    steps = list(struct.iter_unpack("=HBBI", wrapper.socket_filter()))
    assert (steps[1][3], steps[5][3]) == wrapper.MACHINES[machine]
    # Each jump stays within the program, whose last two steps end it.
    assert all(at + 1 + most < len(steps) for at, (_, yes, no, _) in enumerate(steps[:-2]) for most in (yes, no))
    assert [operation for operation, *_ in steps[-2:]] == [wrapper.RETURN] * 2


def test_of_several_flags_the_last_counts() -> None:
    last_value = load("sandboxed").last_value
    assert last_value(["--proxy-server=a", "--proxy-server=b:1", "x"], "--proxy-server=") == "b:1"
    assert last_value(["x"], "--proxy-server=") is None


# --- The relay -----------------------------------------------------------------------------------------------------------


async def relayed(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, Any]], far: Any) -> Any:
    """What ``talk`` returns on a connection that the relay passes on to a server that runs ``far`` on each connection."""
    relay = load("browser_relay.py")
    server = await asyncio.start_server(far, "127.0.0.1", 0)
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(relay.serve(listener, server.sockets[0].getsockname()))
    try:
        async with asyncio.timeout(20):
            return await talk(*await asyncio.open_connection(*listener.getsockname()))
    finally:
        task.cancel()
        server.close()


def test_the_relay_passes_on_both_ways_and_each_end_by_itself() -> None:
    """The far side answers only when it has seen the end of what was asked: a relay that closes both ways at once loses that."""

    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read()
        writer.write(asked[::-1])
        await writer.drain()
        writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"a" * 500_000 + b"b")
        writer.write_eof()
        return await reader.read()

    assert asyncio.run(relayed(talk, far)) == b"b" + b"a" * 500_000


def test_a_slow_reader_does_not_fill_the_relay() -> None:
    sent = 0

    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < 200 << 20:
            writer.write(b"x" * (1 << 20))
            await writer.drain()
            sent += 1 << 20

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        # Nothing is read after the first byte; what the kernel and the relay keep meanwhile is a few megabytes.
        await reader.readexactly(1)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.3)
        return sent

    assert asyncio.run(relayed(talk, far)) < 50 << 20


def test_a_connection_that_fails_is_closed_and_the_next_one_served() -> None:
    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(1) == b"r":
            writer.transport.abort()
        else:
            writer.write(b"well")
            writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"r")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        reader, writer = await asyncio.open_connection(*writer.get_extra_info("peername"))
        writer.write(b"w")
        return await reader.read()

    assert asyncio.run(relayed(talk, far)) == b"well"


def test_where_nobody_listens_the_connection_is_closed() -> None:
    async def story() -> bytes:
        relay = load("browser_relay.py")
        closed, listener = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
        nowhere = closed.getsockname()
        closed.close()
        task = asyncio.create_task(relay.serve(listener, nowhere))
        for _ in range(2):
            reader, _ = await asyncio.open_connection(*listener.getsockname())
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
        task.cancel()
        return b""

    assert asyncio.run(story()) == b""


# --- The secrets of the server's environment -----------------------------------------------------------------------------


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    """The module that forgets, and a double for Playwright's transport with what it knows of the environment."""
    transport = ModuleType("playwright._impl.transport")
    vars(transport)["get_driver_env"] = lambda: {**os.environ, "PW_LANG_NAME": "python"}
    package = ModuleType("playwright._impl")
    vars(package)["transport"] = transport
    for name, module in (("playwright", ModuleType("playwright")), ("playwright._impl", package)):
        monkeypatch.setitem(sys.modules, name, module)
    module = load("forget_secrets.py", monkeypatch)
    monkeypatch.setattr(module.ctypes, "CDLL", lambda name: SimpleNamespace(prctl=lambda *given: 0))
    return module, transport


FORGOTTEN = ("DATABASE_STRING", "LOCAL_CREDENTIAL_VAULT_KEY", "SECRET_KEY", "SKYVERN_API_KEY", "OPENAI_COMPATIBLE_API_KEY")


def test_no_program_of_the_server_inherits_a_secret(
    forgetful: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, transport = forgetful
    for name in (*FORGOTTEN, *module.READ_AGAIN, "TIKTOKEN_CACHE_DIR", "BROWSER_SANDBOX"):
        monkeypatch.setenv(name, "value")
    module.forget()
    inherited = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
    assert {name for name in (*FORGOTTEN, *module.READ_AGAIN) if f"{name}=" in inherited} == set()
    # litellm reads the keys of models again, and where tiktoken's files are.
    assert {name for name in (*FORGOTTEN, *module.READ_AGAIN) if name in os.environ} == set(module.READ_AGAIN)
    assert "TIKTOKEN_CACHE_DIR=value" in inherited
    # Playwright copies this process's mapping for its driver, which starts the browser.
    driver = transport.get_driver_env()
    assert driver["BROWSER_SANDBOX"] == "value"
    assert driver["PW_LANG_NAME"] == "python"
    assert not {*FORGOTTEN, *module.READ_AGAIN} & driver.keys()


def test_a_changed_playwright_or_kernel_fails_the_start(
    forgetful: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, transport = forgetful
    monkeypatch.setattr(module.ctypes, "CDLL", lambda name: SimpleNamespace(prctl=lambda *given: -1))
    with pytest.raises(RuntimeError, match="kernel"):
        module.forget()
    del vars(transport)["get_driver_env"]
    with pytest.raises(RuntimeError, match="Playwright"):
        module.forget()
