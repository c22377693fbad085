"""ops.deploy with doubles: what is decided, in which order the steps run, and what a person reads at the end."""

import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from ops import bootstrap, cli
from ops.clients.docker import Docker
from ops.deploy import guard, preflight, recovery, repair, update
from ops.deploy import up as deploy
from ops.errors import UserError
from ops.images import build as images
from ops.images import needs
from ops.images import source as sources
from ops.machine import backend, daemon, engine, environment, system
from ops.machine.backend import State
from ops.observe.smoke import Result
from ops.paths import ROOT
from ops.stack import checkpoint
from ops.stack import file as files
from ops.stack import outputs as stacks
from ops.stack.outputs import Outputs
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


# --- Decisions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guarded", "yes", "terminal", "unasked"),
    [
        (False, False, False, True),
        (False, False, True, False),
        (False, True, True, True),
        (True, True, False, True),
        (True, False, True, False),
    ],
)
def test_who_is_asked(guarded: bool, yes: bool, terminal: bool, unasked: bool) -> None:
    assert deploy.decide_consent("main", guarded=guarded, yes=yes, terminal=terminal) is unasked


def test_a_guarded_stack_is_never_changed_unasked() -> None:
    with pytest.raises(UserError, match=r"^script/up: staging needs confirmation .*; add --yes$"):
        deploy.decide_consent("staging", guarded=True, yes=False, terminal=False)


@pytest.mark.parametrize(
    ("requested", "configured", "reachable", "made_with", "source"),
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
    requested: sources.Source | None, configured: sources.Source, reachable: bool, made_with: str | None, source: str
) -> None:
    assert sources.decide_source(requested, configured, reachable=reachable, made_with=made_with) == source


@pytest.mark.parametrize(
    ("requested", "made_with", "reason"),
    [("official", None, "--images official was asked for"), (None, "official", "the data of this stack was made with official")],
)
def test_without_a_registry_neither_data_nor_a_choice_is_switched(
    requested: sources.Source | None, made_with: str | None, reason: str
) -> None:
    with pytest.raises(UserError, match=rf"^images: no image registry answers .*{reason}"):
        sources.decide_source(requested, "official", reachable=False, made_with=made_with)


# --- The stack file ------------------------------------------------------------------------------------------------------


def test_the_choice_is_written_and_comments_stay(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(STACK_FILE)
    path.chmod(0o640)
    files.write_setting(path, "images", {"source": "packages"})
    assert path.read_text() == STACK_FILE.replace("source: official", "source: packages")
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["Pulumi.dev.yaml"]


def test_a_choice_that_stands_there_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(STACK_FILE)
    before = path.stat()
    files.write_setting(path, "images", {"source": "official"})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("text", ["", "config: {}\n", "config:\n  skyvern:host:\n    port: 8080\n"])
def test_the_choice_is_added_where_there_was_none(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(text)
    files.write_setting(path, "images", {"source": "packages"})
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    assert files.stack_settings("dev").images.source == "packages"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stack file and a docker and a pulumi of the test's own; no registry answers."""
    for name in list(os.environ):
        if name.startswith(("PULUMI_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(deploy, "ROOT", tmp_path)
    monkeypatch.setattr(system, "answers", lambda *_, **__: False)
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK_FILE)
    (tmp_path / "bin").mkdir()
    program(tmp_path, "docker", '[[ "$*" == *"volume ls"* ]] && cat $HOME/volumes 2>/dev/null; true')
    program(tmp_path, "pulumi", "true")
    (tmp_path / "home").mkdir()
    return tmp_path


def program(checkout: Path, name: str, body: str) -> None:
    file = checkout / "bin" / name
    file.write_text(f'#!/bin/bash\necho "$*" >> {checkout}/{name}.log\n{body}\n')
    file.chmod(0o755)


def calls(checkout: Path, name: str) -> list[str]:
    log = checkout / f"{name}.log"
    return log.read_text().splitlines() if log.exists() else []


def choose(requested: sources.Source | None, told: list[str] | None = None) -> str:
    return sources.choose_source("dev", requested, Docker("unix:///x"), ([] if told is None else told).append)


def test_an_asked_for_choice_lands_in_the_stack_file(checkout: Path) -> None:
    assert choose("packages") == "packages"
    assert "source: packages # or packages" in (checkout / "Pulumi.dev.yaml").read_text()
    # From now on nothing has to be said.
    assert choose(None) == "packages"


def test_a_new_stack_without_a_registry_is_built_from_packages_and_says_so(checkout: Path) -> None:
    told: list[str] = []
    assert choose(None, told) == "packages"
    assert told[0].startswith("no image registry answers: every image is built from Debian, PyPI and Go packages")
    assert told[1:] == ["wrote images.source: packages into Pulumi.dev.yaml"]
    assert "source: packages # or packages" in (checkout / "Pulumi.dev.yaml").read_text()


def test_data_of_official_images_is_not_switched_without_a_registry(checkout: Path) -> None:
    (checkout / "home" / "volumes").write_text("skyvern-dev-postgres=official\n")
    with pytest.raises(UserError, match=r"^images: no image registry answers"):
        choose(None)
    assert (checkout / "Pulumi.dev.yaml").read_text() == STACK_FILE


def test_data_of_the_other_source_is_not_touched(checkout: Path) -> None:
    (checkout / "home" / "volumes").write_text("skyvern-dev-postgres=official\n")
    with pytest.raises(UserError, match=r"the volume skyvern-dev-postgres was made with official images"):
        choose("packages")
    assert (checkout / "Pulumi.dev.yaml").read_text() == STACK_FILE
    # Edited by hand, the file and the wish agree, and the data still does not.
    (checkout / "home" / "volumes").write_text("skyvern-dev-postgres=packages\n")
    with pytest.raises(UserError, match=r"was made with packages images; write packages"):
        choose("official")
    # A stack whose name merely contains this one's is another stack.
    (checkout / "home" / "volumes").write_text("skyvern-dev-postgres-socket=\nother-skyvern-dev-postgres=official\n")
    assert choose("packages") == "packages"


# --- Pulumi --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def prepared(checkout: Path) -> Path:
    engine._write_record(
        engine.EngineRecord(
            kind=engine.EngineKind.PATH,
            version="3.272.0",
            bin_dir=str(checkout / "bin"),
            pulumi_home=None,
            forced=False,
        )
    )
    backend.ensure_state(lambda _: None)
    return checkout


@pytest.mark.parametrize(
    ("listed", "created"),
    [([], True), ([{"name": "prod"}], True), ([{"name": "dev"}], False), ([{"name": "organization/skyvern/dev"}], False)],
)
def test_a_stack_is_created_once_and_never_selected(prepared: Path, listed: list[dict[str, str]], created: bool) -> None:
    program(prepared, "pulumi", f"[[ $2 == ls ]] && echo '{json.dumps(listed)}'; true")
    update.ensure_stack("dev", lambda _: None)
    init = [call for call in calls(prepared, "pulumi") if not call.startswith("stack ls")]
    assert init == (["stack init dev --no-select --non-interactive"] if created else [])


def test_a_stack_whose_creation_was_killed_is_created_by_the_next(prepared: Path) -> None:
    # Seen with Pulumi 3.256: "could not create stack: the stack is currently locked", and pulumi cancel knows no such stack.
    state = checkpoint.backend_folder(environment.for_stacks()["PULUMI_BACKEND_URL"])
    assert state is not None
    locks = state / "locks" / "organization" / "skyvern" / "dev"
    locks.mkdir(parents=True)
    fields = {"pid": 2**22 + 1, "username": "me", "hostname": platform.node(), "timestamp": "2026-11-22T22:55:08.5Z"}
    (locks / "7b407ba0.json").write_text(json.dumps(fields))
    program(prepared, "pulumi", f"[[ $2 == ls ]] && echo [] || {{ [[ $2 == init ]] && ! ls {locks}/*.json; }}")
    told: list[str] = []
    update.ensure_stack("dev", told.append)
    assert told == ["the last pulumi was killed (process 4194305, since 2026-11-22T22:55:08): its lock is removed", "created dev"]


@pytest.mark.parametrize(("unasked", "command"), [(True, "up --stack dev --yes --non-interactive"), (False, "up --stack dev")])
def test_pulumi_up_runs_on_the_decided_engine(prepared: Path, unasked: bool, command: str) -> None:
    program(prepared, "pulumi", "[[ -n $PULUMI_BACKEND_URL && -r $PULUMI_CONFIG_PASSPHRASE_FILE ]]")
    update.pulumi_up("dev", unasked=unasked)
    assert calls(prepared, "pulumi") == [command]


def test_a_docker_host_over_ssh_gets_few_calls_at_a_time(prepared: Path) -> None:
    program(prepared, "pulumi", "true")
    file = prepared / "Pulumi.dev.yaml"
    file.write_text("config:\n  skyvern:host:\n    docker_host: ssh://deploy@h.example\n")
    update.pulumi_up("dev", unasked=True)
    assert calls(prepared, "pulumi") == ["up --stack dev --yes --non-interactive --parallel 8"]


def test_a_failed_up_is_one_line(prepared: Path) -> None:
    program(prepared, "pulumi", "exit 255")
    with pytest.raises(UserError, match=r"^pulumi up: exit 255; .*script/up --stack dev again$"):
        update.pulumi_up("dev", unasked=True)


def test_a_failed_up_with_cloudflare_says_where_its_codes_are(prepared: Path) -> None:
    program(prepared, "pulumi", "exit 255")
    edge = "config:\n  skyvern:edge:\n    provider: cloudflare\n    domain: example.com\n    api_token:\n      secure: v1:x\n"
    (prepared / "Pulumi.dev.yaml").write_text(edge)
    with pytest.raises(UserError, match=r"^pulumi up: exit 255; .*docs/cloudflare\.md"):
        update.pulumi_up("dev", unasked=True)


def test_ctrl_c_lets_pulumi_finish_its_step(tmp_path: Path) -> None:
    # subprocess.run would kill the engine a quarter of a second after Ctrl-C and leave operations pending.
    child = f"trap 'sleep 1; touch {tmp_path}/finished; exit 7' INT; touch {tmp_path}/ready; while :; do sleep 0.1; done"
    code = f"""
        import os
        from ops import deploy
        print(deploy.run_attended(["bash", "-c", {child!r}], env=dict(os.environ), ask=False))
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (tmp_path / "ready").exists():
        time.sleep(0.05)
    # To the whole group, as a terminal does.
    os.killpg(parent.pid, signal.SIGINT)
    out, _ = parent.communicate(timeout=20)
    assert (out.strip(), (tmp_path / "finished").exists()) == ("7", True)


# --- The whole -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def order(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Doubles for all that script/up calls; the list tells what was called."""
    seen: list[str] = []
    monkeypatch.setattr(daemon, "ensure_docker", lambda *_: seen.append("docker"))
    monkeypatch.setattr(engine, "ensure_engine", lambda requested, _: seen.append(f"engine {requested}"))
    state = State(url=f"file://{prepared}/state", local=True, passphrase=True)

    def ensure_state(_: object) -> State:
        seen.append("state")
        return state

    monkeypatch.setattr(backend, "ensure_state", ensure_state)
    monkeypatch.setattr(needs, "prepare", lambda docker, source, say, optional: seen.append(f"tools for {source}"))
    monkeypatch.setattr(images, "build", lambda docker, source, say, optional: seen.append(f"images {source} at {docker.host}"))
    monkeypatch.setattr(preflight, "check", lambda docker, settings, _: seen.append(f"preflight {settings.browser.type}"))
    monkeypatch.setattr(update, "ensure_stack", lambda stack, _: seen.append(f"stack {stack}"))
    monkeypatch.setattr(recovery, "recover", lambda stack, docker, _: seen.append(f"recover {stack} at {docker.host}"))
    monkeypatch.setattr(repair, "repair", lambda stack, docker, _: seen.append(f"repair {stack}"))
    monkeypatch.setattr(repair, "wait_until_healthy", lambda stack, docker, _: seen.append(f"healthy {stack}"))
    monkeypatch.setattr(update, "pulumi_up", lambda stack, unasked: seen.append(f"up {stack} unasked={unasked}"))
    monkeypatch.setattr(stacks, "outputs", lambda stack: OUTPUTS)

    def green(outputs: Outputs, _: object) -> tuple[int, int]:
        seen.append("smoke")
        return 21, 21

    monkeypatch.setattr(update, "run_smoke", green)
    return seen


def test_the_steps_in_order_and_the_summary(order: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main(["--images", "packages", "--engine", "modules"]) == 0
    assert order == [
        "docker",
        "tools for packages",
        "engine modules",
        "state",
        "images packages at unix:///var/run/docker.sock",
        "preflight headless",
        "stack dev",
        "recover dev at unix:///var/run/docker.sock",
        "repair dev",
        "up dev unasked=True",
        "healthy dev",
        "smoke",
    ]
    out = capsys.readouterr().out
    for number, name in enumerate(["Docker", "Pulumi", "images", "stack dev", "pulumi up -s dev", "smoke"], start=1):
        assert f"[{number}/6] {name} ..." in out
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


def test_a_red_smoke_ends_with_exit_1_after_the_summary(
    order: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(update, "run_smoke", lambda *_: (19, 21))
    assert deploy.main(["--images", "packages"]) == 1
    told = capsys.readouterr()
    assert "http://localhost:8080" in told.out
    assert told.err.startswith("smoke: 19 of 21 checks green; ")


def test_a_failing_step_is_one_line_and_the_last(
    order: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_stack(stack: str, progress: object) -> None:
        raise UserError("pulumi: exit 255: error: no")

    monkeypatch.setattr(update, "ensure_stack", no_stack)
    assert deploy.main(["--images", "packages"]) == 1
    assert capsys.readouterr().err == "pulumi: exit 255: error: no\n"
    assert order[-1].startswith("preflight")


def test_a_wrong_stack_file_stops_before_the_first_step(
    order: list[str], prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (prepared / "Pulumi.dev.yaml").write_text("config:\n  skyvern:host:\n    port: 80\n")
    assert deploy.main([]) == 1
    assert capsys.readouterr().err.startswith("Pulumi.dev.yaml: host.port: 80 ")
    assert order == []


def test_a_guarded_stack_of_any_name_needs_consent_without_a_terminal(
    order: list[str], prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard, "refusal", lambda root, main: None)
    guarded = STACK_FILE.replace("config:\n", "config:\n  skyvern:deployment: {only_from_main: true}\n")
    (prepared / "Pulumi.staging.yaml").write_text(guarded)
    assert deploy.main(["--stack", "staging", "--images", "packages"]) == 1
    assert capsys.readouterr().err == "script/up: staging needs confirmation and there is no terminal to ask on; add --yes\n"
    assert order == []
    # The other way round: what the stack file frees is not held back for its name.
    (prepared / "Pulumi.prod.yaml").write_text(guarded.replace("true", "false"))
    assert deploy.main(["--stack", "prod", "--images", "packages"]) == 0
    assert "up prod unasked=True" in order


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ("organization/skyvern/prod", "stack organization/skyvern/prod: write prod, without organization and project"),
        ("acme/prod", "stack acme/prod: write prod, without organization and project"),
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
    assert deploy.main(["--stack", stack]) == 1
    assert capsys.readouterr().err == f"{message}\n"
    assert order == []
    # Every command of ops that takes a stack, whatever it does with it.
    for command in ("smoke", "status", "drift", "rollback", "doctor", "logs", "review", "rotate"):
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
    from ops.observe import smoke
    from ops.observe.smoke import site

    results = [
        Result("heartbeat", "ok", 0.1),
        Result("CORS", "FAIL", 0.2, "seen", "look"),
        Result("UI", "skip", 0.0, "why"),
        Result("recording", "n/a", 0.0, "why"),
    ]

    @contextmanager
    def no_client(_: Outputs, way: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace()

    monkeypatch.setattr(site, "client_for", no_client)
    monkeypatch.setattr(smoke, "run_checks", lambda _: iter(results))
    lines: list[str] = []
    # A skipped check was not seen to work, so it does not count as green. One that does not apply is not counted at all.
    assert update.run_smoke(OUTPUTS, lines.append) == (1, 3)
    assert [line.split()[0] for line in lines] == ["ok", "FAIL", "skip", "n/a"]
