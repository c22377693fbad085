"""ops.deploy.up with doubles: what is decided, in which order the steps run, and what a person reads at the end."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.host.images import ImageSource
from ops import cli
from ops.clients import git, terminal
from ops.clients.docker import Docker
from ops.deploy import danger, guard, preflight, recovery, releases, repair, up, update, upgrade
from ops.errors import UserError
from ops.images import build, needs, source
from ops.machine import backend, daemon, engine, environment
from ops.machine.backend import State
from ops.observe import smoke
from ops.observe.smoke import Result
from ops.paths import ROOT
from ops.stack import checkpoint
from ops.stack.outputs import Outputs
from ops.stack.stack import Stack
from tests.support.home import Home
from tests.support.lock import REFUSED, held
from tests.support.stack_outputs import OUTPUTS

STACK_FILE = """\
# The stack on this machine.
config:
  skyvern:host:
    port: 8080  # the only published port
  # Where the images come from.
  skyvern:images:
    source: official # or packages
  skyvern:browser: {locale: "ko-KR"}
encryptionsalt: v1:abc=:v1:def
"""
GUARDED = STACK_FILE.replace("config:\n", "config:\n  skyvern:deployment: {only_from_main: true}\n")
FREED = GUARDED.replace("true", "false")


# --- Decisions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guarded", "yes", "attended", "unasked"),
    [
        (False, False, False, True),
        (False, False, True, False),
        (False, True, True, True),
        (True, True, False, True),
        (True, False, True, False),
    ],
)
def test_who_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guarded: bool, yes: bool, attended: bool, unasked: bool
) -> None:
    monkeypatch.setattr(terminal, "attended", lambda: attended)
    (tmp_path / "Pulumi.main.yaml").write_text(GUARDED if guarded else STACK_FILE)
    assert up.goes_unasked(Stack("main", root=tmp_path), yes=yes) is unasked


@pytest.mark.parametrize(
    ("name", "text", "on_main"),
    [
        ("staging", GUARDED, None),
        ("organization/skyvern/staging", GUARDED, None),
        # An edit that is not on main lifts neither the guard nor the question.
        ("staging", FREED, GUARDED),
        ("prod", STACK_FILE, None),
        ("organization/prod", STACK_FILE, None),
        ("organization/skyvern/prod", STACK_FILE, None),
    ],
)
def test_what_the_guard_holds_back_is_never_changed_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, on_main: str | None
) -> None:
    monkeypatch.setattr(terminal, "attended", lambda: False)
    monkeypatch.setattr(guard, "refusal", lambda root: "the checkout differs from its commit")
    monkeypatch.setattr(git, "main_ref", lambda root: "refs/heads/main")
    monkeypatch.setattr(git, "file_at", lambda root, ref, file_name: on_main or FREED)
    stack = Stack(name, root=tmp_path)
    (tmp_path / stack.file_name).write_text(text)
    with pytest.raises(UserError, match=rf"^stack {name}: the checkout differs from its commit, and nothing was changed"):
        guard.check(stack, unreviewed=False)
    with pytest.raises(UserError, match=rf"^script/up: {name} needs confirmation and there is no terminal .*; add --yes$"):
        up.goes_unasked(stack, yes=False)
    assert up.goes_unasked(stack, yes=True)


@pytest.mark.parametrize("name", ["dev", "staging", "prod", "organization/skyvern/prod"])
def test_what_the_guard_lets_pass_is_changed_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(terminal, "attended", lambda: False)
    monkeypatch.setattr(guard, "refusal", lambda root: "the checkout differs from its commit")
    stack = Stack(name, root=tmp_path)
    (tmp_path / stack.file_name).write_text(FREED)
    guard.check(stack, unreviewed=False)
    assert up.goes_unasked(stack, yes=False)


@pytest.mark.parametrize(
    ("requested", "configured", "reachable", "made_with", "decided"),
    [
        (None, "official", True, None, "official"),
        (None, "packages", False, None, "packages"),
        ("packages", "official", True, None, "packages"),
        ("official", "packages", True, None, "official"),
        # Without a registry a new stack is built from packages, with a terminal and without one.
        (None, "official", False, None, "packages"),
    ],
)
def test_where_images_come_from(
    requested: ImageSource | None, configured: ImageSource, reachable: bool, made_with: str | None, decided: str
) -> None:
    assert source.decide_source(requested, configured, reachable=reachable, made_with=made_with) == decided


@pytest.mark.parametrize(
    ("requested", "made_with", "reason"),
    [("official", None, "--images official was asked for"), (None, "official", "the data of this stack was made with official")],
)
def test_without_a_registry_neither_data_nor_a_choice_is_switched(
    requested: ImageSource | None, made_with: str | None, reason: str
) -> None:
    with pytest.raises(UserError, match=rf"^images: no image registry answers .*{reason}"):
        source.decide_source(requested, "official", reachable=False, made_with=made_with)


# --- The source of the images --------------------------------------------------------------------------------------------


@pytest.fixture
def dev(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack in a folder of the test's own, whose docker lists the volumes that ``~/volumes`` has; no registry answers."""
    monkeypatch.setattr("ops.stack.stack.ROOT", tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK_FILE)
    home.program("docker", '[[ "$*" == *"volume ls"* ]] && cat $HOME/volumes 2>/dev/null; true')
    return Stack("dev")


def choose(stack: Stack, requested: ImageSource | None, told: list[str] | None = None) -> str:
    return source.choose_source(stack, requested, Docker("unix:///x"), ([] if told is None else told).append)


def test_an_asked_for_choice_lands_in_the_stack_file(dev: Stack) -> None:
    assert choose(dev, "packages") == "packages"
    assert "source: packages # or packages" in dev.file.read_text()
    # From now on nothing has to be said.
    assert choose(dev, None) == "packages"


def test_a_new_stack_without_a_registry_is_built_from_packages_and_says_so(dev: Stack) -> None:
    told: list[str] = []
    assert choose(dev, None, told) == "packages"
    assert told[0].startswith("no image registry answers: every image is built from Debian, PyPI and Go packages")
    assert told[1:] == ["wrote images.source: packages into Pulumi.dev.yaml"]
    assert "source: packages # or packages" in dev.file.read_text()


def test_data_of_official_images_is_not_switched_without_a_registry(dev: Stack, home: Home) -> None:
    (home.path / "volumes").write_text("skyvern-dev-postgres=official\n")
    with pytest.raises(UserError, match=r"^images: no image registry answers"):
        choose(dev, None)
    assert dev.file.read_text() == STACK_FILE


def test_data_of_the_other_source_is_not_touched(dev: Stack, home: Home) -> None:
    (home.path / "volumes").write_text("skyvern-dev-postgres=official\n")
    with pytest.raises(UserError, match=r"the volume skyvern-dev-postgres was made with official images"):
        choose(dev, "packages")
    assert dev.file.read_text() == STACK_FILE
    # Edited by hand, the file and the wish agree, and the data still does not.
    (home.path / "volumes").write_text("skyvern-dev-postgres=packages\n")
    with pytest.raises(UserError, match=r"was made with packages images; write packages"):
        choose(dev, "official")
    # A stack whose name merely contains this one's is another stack.
    (home.path / "volumes").write_text("skyvern-dev-postgres-socket=\nother-skyvern-dev-postgres=official\n")
    assert choose(dev, "packages") == "packages"


# --- Pulumi --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def prepared(dev: Stack, home: Home) -> Stack:
    """The stack ``dev`` after script/bootstrap."""
    home.record_engine()
    backend.ensure_state(home.say)
    return dev


@pytest.mark.parametrize(
    ("name", "listed", "created"),
    [
        ("dev", [], True),
        ("dev", ["prod"], True),
        ("dev", ["dev"], False),
        ("dev", ["organization/skyvern/dev"], False),
        # Another organization's than the user's.
        ("dev", ["acme/dev"], True),
        ("organization/skyvern/dev", [], True),
        ("organization/skyvern/dev", ["prod", "dev"], False),
        ("organization/skyvern/dev", ["organization/skyvern/dev"], False),
        ("organization/dev", ["dev"], False),
        # Pulumi Cloud leaves out the project of the list, and the owner if that is the user's default.
        ("acme/skyvern/dev", ["acme/dev"], False),
        ("acme/dev", ["acme/skyvern/dev"], False),
        ("acme/skyvern/dev", ["dev"], False),
        ("acme/skyvern/dev", ["other/dev"], True),
    ],
)
def test_a_stack_is_created_once_and_never_selected(
    prepared: Stack, home: Home, name: str, listed: list[str], created: bool
) -> None:
    answer = json.dumps([{"name": entry} for entry in listed])
    home.program("pulumi", f"[[ -n $PULUMI_BACKEND_URL ]] || exit 1; [[ $2 == ls ]] && echo '{answer}'; true")
    printed: list[str] = []
    update.ensure_stack(Stack(name), printed.append)
    init = [call for call in home.calls("pulumi") if not call.startswith("stack ls")]
    assert init == ([f"stack init {name} --no-select --non-interactive"] if created else [])
    assert printed == [f"created {name}" if created else f"{name} exists"]


def test_a_stack_whose_creation_was_killed_is_created_by_the_next(prepared: Stack, home: Home) -> None:
    # Seen with Pulumi 3.256: "could not create stack: the stack is currently locked", and pulumi cancel knows no such stack.
    state = checkpoint.backend_folder(environment.for_stacks()["PULUMI_BACKEND_URL"])
    assert state is not None
    locks = state / "locks" / "organization" / "skyvern" / "dev"
    locks.mkdir(parents=True)
    fields = {"pid": 2**22 + 1, "username": "me", "hostname": platform.node(), "timestamp": "2026-11-22T22:55:08.5Z"}
    (locks / "7b407ba0.json").write_text(json.dumps(fields))
    home.program("pulumi", f"[[ $2 == ls ]] && echo [] || {{ [[ $2 == init ]] && ! compgen -G '{locks}/*.json'; }}")
    told: list[str] = []
    update.ensure_stack(prepared, told.append)
    assert told == ["the last pulumi was killed (process 4194305, since 2026-11-22T22:55:08): its lock is removed", "created dev"]


@pytest.mark.parametrize(("unasked", "command"), [(True, "up --yes --non-interactive --stack dev"), (False, "up --stack dev")])
def test_pulumi_up_runs_on_the_decided_engine(prepared: Stack, home: Home, unasked: bool, command: str) -> None:
    home.program("pulumi", "[[ -n $PULUMI_BACKEND_URL && -r $PULUMI_CONFIG_PASSPHRASE_FILE ]]")
    update.pulumi_up(prepared, unasked=unasked)
    assert home.calls("pulumi") == [command]


def test_a_failed_up_is_one_line(prepared: Stack, home: Home) -> None:
    home.program("pulumi", "exit 255")
    with pytest.raises(UserError, match=r"^pulumi up: exit 255; .*script/up --stack dev again$"):
        update.pulumi_up(prepared, unasked=True)


def test_a_failed_up_with_cloudflare_says_where_its_codes_are(prepared: Stack, home: Home) -> None:
    home.program("pulumi", "exit 255")
    edge = "config:\n  skyvern:edge:\n    provider: cloudflare\n    domain: example.com\n    api_token:\n      secure: v1:x\n"
    prepared.file.write_text(edge)
    with pytest.raises(UserError, match=r"^pulumi up: exit 255; .*docs/cloudflare\.md"):
        update.pulumi_up(prepared, unasked=True)


def test_ctrl_c_lets_pulumi_finish_its_step(tmp_path: Path) -> None:
    # subprocess.run would kill the engine a quarter of a second after Ctrl-C and leave operations pending.
    child = f"trap 'sleep 1; touch {tmp_path}/finished; exit 7' INT; touch {tmp_path}/ready; while :; do sleep 0.1; done"
    code = f"""
        import os
        from ops.clients import terminal
        print(terminal.run_attended(["bash", "-c", {child!r}], env=dict(os.environ), ask=False))
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (tmp_path / "ready").exists():
        assert parent.poll() is None
        time.sleep(0.05)
    # To the whole group, as a terminal does.
    os.killpg(parent.pid, signal.SIGINT)
    out, _ = parent.communicate(timeout=20)
    assert (out.strip(), (tmp_path / "finished").exists()) == ("7", True)


# --- The whole -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def order(prepared: Stack, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Doubles for all that script/up calls; the list tells what was called."""
    seen: list[str] = []
    monkeypatch.setattr(daemon, "ensure_docker", lambda *_: seen.append("docker"))
    monkeypatch.setattr(engine, "ensure_engine", lambda requested, *_: seen.append(f"engine {requested}"))
    state = State(url=f"file://{prepared.root}/state", local=True, passphrase=True)

    def ensure_state(_: object) -> State:
        seen.append("state")
        return state

    monkeypatch.setattr(backend, "ensure_state", ensure_state)
    monkeypatch.setattr(needs, "prepare", lambda docker, chosen, say, optional: seen.append(f"tools for {chosen}"))
    monkeypatch.setattr(build, "build", lambda docker, chosen, *_, **_host: seen.append(f"images {chosen} at {docker.host}"))
    monkeypatch.setattr(preflight, "check", lambda docker, settings, _: seen.append(f"preflight {settings.browser.type}"))
    monkeypatch.setattr(preflight, "check_ports", lambda stack, settings: seen.append(f"port {settings.host.port}"))
    monkeypatch.setattr(preflight, "check_addresses", lambda stack, docker, settings: seen.append("addresses"))
    monkeypatch.setattr(update, "ensure_stack", lambda stack, _: seen.append(f"stack {stack}"))
    monkeypatch.setattr(recovery, "recover", lambda stack, docker, _: seen.append(f"recover {stack} at {docker.host}"))
    monkeypatch.setattr(repair, "repair", lambda stack, docker, _: seen.append(f"repair {stack}"))
    monkeypatch.setattr(repair, "wait_until_healthy", lambda stack, docker, _: seen.append(f"healthy {stack}"))
    monkeypatch.setattr(danger, "take_set", lambda *_: None)
    monkeypatch.setattr(upgrade, "plan", lambda stack, docker, settings: None)
    monkeypatch.setattr(update, "pulumi_up", lambda stack, unasked: seen.append(f"up {stack} unasked={unasked}"))
    monkeypatch.setattr(Stack, "outputs", lambda stack: OUTPUTS)
    monkeypatch.setattr(releases, "record_good", lambda stack, docker: seen.append(f"record {stack}"))

    def green(outputs: Outputs, _: object, **warned: object) -> tuple[int, int]:
        seen.append("smoke")
        return 21, 21

    monkeypatch.setattr(update, "run_smoke", green)
    return seen


def test_the_steps_in_order_and_the_summary(order: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert up.main(["--images", "packages", "--engine", "modules"]) == 0
    images = order.pop(next(index for index, step in enumerate(order) if step.startswith("images")))
    assert images == "images packages at unix:///var/run/docker.sock"
    assert order == [
        "docker",
        # Before minutes are spent.
        "port 8080",
        "addresses",
        "tools for packages",
        "state",
        "engine modules",
        # A host that is another machine can be looked at now.
        "addresses",
        "preflight headless",
        "stack dev",
        "recover dev at unix:///var/run/docker.sock",
        "repair dev",
        "up dev unasked=True",
        "healthy dev",
        "smoke",
        "record dev",
    ]
    out = capsys.readouterr().out
    for number, name in enumerate(["Docker", "Pulumi and images", "stack dev", "pulumi up -s dev", "smoke"], start=1):
        assert f"[{number}/5] {name} ..." in out
    for line in (
        "http://localhost:8080",
        "pulumi stack output ui_password --show-secrets -s dev",
        "pulumi stack output api_key --show-secrets -s dev",
        "21 of 21 checks green",
        'eval "$(script/env)"',
    ):
        assert line in out
    assert "the-ui-password" not in out
    assert "the-api-key" not in out


def test_beside_another_command_nothing_of_the_stack_is_touched(order: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A second script/up started the server that an upgrade had ended, in the middle of the copy of its database."""
    with held():
        assert up.main([]) == 1
    assert order[-1].startswith("preflight")
    assert re.search(REFUSED, capsys.readouterr().err.strip().removeprefix("script/up: ").removeprefix("error: "))
    assert up.main([]) == 0


def test_what_the_shell_has_no_say_in_is_named_first(
    order: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """F02: whoever sets DOCKER_CONTEXT expects it to count."""
    monkeypatch.setenv("DOCKER_CONTEXT", "elsewhere")
    assert up.main(["--images", "packages"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].strip() == "not used from this shell: DOCKER_CONTEXT (the stack file decides)"
    assert "DOCKER_CONTEXT" not in os.environ


def test_engine_and_images_are_made_side_by_side(order: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(2)
    monkeypatch.setattr(engine, "ensure_engine", lambda *_: meeting.wait(20))
    monkeypatch.setattr(build, "build", lambda docker, chosen, *_, **_host: meeting.wait(20))
    assert up.main(["--images", "packages"]) == 0


def test_a_broken_state_is_refused_before_minutes_are_spent(
    order: list[str], prepared: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = prepared.root / "state/.pulumi/stacks/skyvern/dev.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    assert up.main(["--images", "packages"]) == 1
    assert "is cut off" in capsys.readouterr().err
    assert not [step for step in order if step.startswith(("engine", "images"))]


def test_a_failed_engine_is_printed_at_once_and_no_further_image_is_begun(
    order: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped: list[bool] = []

    def images(*arguments: object, host: object) -> None:
        (stop,) = (argument for argument in arguments if isinstance(argument, threading.Event))
        stopped.append(stop.wait(20))
        # As long as the image that is being made: the line is out by now.
        time.sleep(0.2)
        assert "engine: no; the image that is being made is finished first" in capsys.readouterr().out

    def broken(*_: object) -> None:
        raise UserError("engine: no")

    monkeypatch.setattr(build, "build", images)
    monkeypatch.setattr(engine, "ensure_engine", broken)
    assert up.main(["--images", "packages"]) == 1
    assert stopped == [True]
    assert capsys.readouterr().err == "engine: no\n"


def test_a_failed_image_is_printed_at_once(
    order: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = threading.Event()

    def broken(*_: object, host: object) -> None:
        failed.set()
        raise UserError("images: no")

    def compile_engine(*_: object) -> None:
        failed.wait(20)
        time.sleep(0.2)
        assert "images: no; Pulumi is made ready before this ends" in capsys.readouterr().out

    monkeypatch.setattr(build, "build", broken)
    monkeypatch.setattr(engine, "ensure_engine", compile_engine)
    assert up.main(["--images", "packages"]) == 1
    assert capsys.readouterr().err == "images: no\n"
    assert not [step for step in order if step.startswith(("preflight", "stack", "up"))]


def test_the_end_of_the_input_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", ended)
    assert terminal.confirm("Deploy it anyway?") is False


def test_a_red_smoke_ends_with_exit_1_after_the_summary(
    order: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(update, "run_smoke", lambda *_, **warned: (19, 21))
    assert up.main(["--images", "packages"]) == 1
    told = capsys.readouterr()
    assert "http://localhost:8080" in told.out
    assert told.err.startswith("smoke: 19 of 21 checks green; ")


def test_no_internet_is_a_warning_below_the_result(
    order: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """F06: the stack is usable, and no update of it brings the internet."""

    def offline(outputs: Outputs, say: object, *, warn: Callable[[str], None]) -> tuple[int, int]:
        warn("browsers do not reach the internet: DNS fails (a.test: no address); give Docker name servers")
        return 21, 21

    monkeypatch.setattr(update, "run_smoke", offline)
    assert up.main(["--images", "packages"]) == 0
    told = capsys.readouterr()
    assert "  smoke  21 of 21 checks green\n  WARNING  browsers do not reach the internet: DNS fails" in told.out
    assert told.err == ""


def test_a_failing_step_is_one_line_and_the_last(
    order: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_stack(stack: Stack, progress: object) -> None:
        raise UserError("pulumi: exit 255: error: no")

    monkeypatch.setattr(update, "ensure_stack", no_stack)
    assert up.main(["--images", "packages"]) == 1
    assert capsys.readouterr().err == "pulumi: exit 255: error: no\n"
    assert order[-1].startswith("preflight")


def test_a_wrong_stack_file_stops_before_the_first_step(
    order: list[str], prepared: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared.file.write_text("config:\n  skyvern:host:\n    port: 80\n")
    assert up.main([]) == 1
    assert capsys.readouterr().err.startswith("Pulumi.dev.yaml: host.port: 80 ")
    assert order == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("staging", GUARDED),
        ("organization/skyvern/staging", GUARDED),
        ("prod", STACK_FILE),
        ("organization/skyvern/prod", STACK_FILE),
    ],
)
def test_a_guarded_stack_of_any_name_needs_consent_without_a_terminal(
    order: list[str], prepared: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    monkeypatch.setattr(guard, "refusal", lambda root: None)
    path = prepared.root / Stack(name).file_name
    path.write_text(text)
    assert up.main(["--stack", name, "--images", "packages"]) == 1
    assert capsys.readouterr().err == f"script/up: {name} needs confirmation and there is no terminal to ask on; add --yes\n"
    assert order == []
    assert up.main(["--stack", name, "--images", "packages", "--yes"]) == 0
    assert order[-1] == f"record {name}"
    # The other way round: what the stack file frees is not held back for its name.
    path.write_text(FREED)
    order.clear()
    assert up.main(["--stack", name, "--images", "packages"]) == 0
    assert f"up {name} unasked=True" in order


def test_an_upgrade_has_a_step_and_whatever_fails_behind_it_is_within_the_switch(
    order: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change = upgrade.Upgrade(before="1.0.55", after="1.0.56", database=("a",), pending=12, drops=(), image="i", good=None)

    @contextmanager
    def switched(change: object, stack: Stack, docker: object, say: object) -> Iterator[None]:
        order.append("switch")
        try:
            yield
        finally:
            order.append("end of the switch")

    monkeypatch.setattr(upgrade, "plan", lambda stack, docker, settings: change)
    monkeypatch.setattr(upgrade, "prepare", lambda change, *_, ask: order.append(f"trial, asked={ask}"))
    monkeypatch.setattr(upgrade, "switched", switched)
    monkeypatch.setattr(danger, "take_set", lambda *_: order.append("a set of its own"))
    monkeypatch.setattr(danger, "refuse", lambda *_: order.append("volumes"))
    assert up.main(["--images", "packages"]) == 0
    last = ["volumes", "trial, asked=False", "switch", "up dev unasked=True", "healthy dev", "smoke", "end of the switch"]
    assert order[-8:] == [*last, "record dev"]
    step = "[4/6] Skyvern 1.0.55 → 1.0.56: 12 migrations, none drops data; about 90 s off ..."
    assert step in capsys.readouterr().out.splitlines()
    order.clear()
    monkeypatch.setattr(update, "run_smoke", lambda *_, **__: (20, 21))
    assert up.main(["--images", "packages"]) == 1
    assert order[-1] == "end of the switch"


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ("a/b/c/d", "stack 'a/b/c/d': is not a stack; write d, or organization/skyvern/d"),
        ("acme/other/prod", "stack 'acme/other/prod': this project is skyvern; write acme/skyvern/prod"),
        ("..", "stack '..': Pulumi accepts letters, digits, hyphens, underscores and periods, 100 at most"),
        ("my stack", "stack 'my stack': Pulumi accepts letters, digits, hyphens, underscores and periods, 100 at most"),
        ("", "stack '': Pulumi accepts letters, digits, hyphens, underscores and periods, 100 at most"),
        ("prod\n", "stack 'prod\\n': Pulumi accepts letters, digits, hyphens, underscores and periods, 100 at most"),
        ("s" * 101, f"stack '{'s' * 101}': Pulumi accepts letters, digits, hyphens, underscores and periods, 100 at most"),
        ("../x/", "stack '../x/': Pulumi accepts letters, digits, hyphens, underscores and periods, 100 at most"),
    ],
)
def test_a_name_that_is_not_a_stacks_is_one_line_before_the_first_step(
    order: list[str], stack: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert up.main(["--stack", stack]) == 1
    assert capsys.readouterr().err == f"{message}\n"
    assert order == []
    if not stack:
        # ops refuses every empty word (tests/unit/ops/test_cli.py).
        return
    # Every command of ops that takes a stack, whatever it does with it.
    for command in ("smoke", "status", "drift", "rollback", "doctor", "logs", "review", "end-sessions", "rotate"):
        arguments = [*(["api-key"] if command == "rotate" else []), "-s", stack]
        monkeypatch.setattr(sys, "argv", ["ops", command, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert (ended.value.code, capsys.readouterr().err) == (1, f"error: {message}\n"), command
    for command in ("init", "preview"):
        monkeypatch.setattr(sys, "argv", ["ops", command, stack])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert (ended.value.code, capsys.readouterr().err) == (1, f"error: {message}\n"), command


def test_each_smoke_check_gets_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [
        Result("heartbeat", "ok", 0.1),
        Result("CORS", "FAIL", 0.2, "seen", "look"),
        Result("UI", "skip", 0.0, "why"),
        Result("recording", "n/a", 0.0, "why"),
        Result("internet", "warn", 0.0, "no internet"),
    ]

    @contextmanager
    def no_client(_: Outputs, resolver: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace()

    monkeypatch.setattr(update, "client_for", no_client)
    monkeypatch.setattr(smoke, "run_checks", lambda _: iter(results))
    lines: list[str] = []
    # A skipped check was not seen to work, so it does not count as green. One that does not apply is not counted at all, nor is
    # what the host lacks (F06).
    warned: list[str] = []
    assert update.run_smoke(OUTPUTS, lines.append, warn=warned.append) == (1, 3)
    assert [line.split()[0] for line in lines] == ["ok", "FAIL", "skip", "n/a", "warn"]
    assert warned == ["no internet"]
