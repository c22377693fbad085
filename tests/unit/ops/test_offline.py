"""What is there is not asked for: every command on a stack whose images, engine and plugins are present, without internet.

The doubles of the programs note each call; a request of our own raises.
"""

import dataclasses
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from components.host import images
from components.settings import HostSettings, parse
from ops.clients import git
from ops.clients.docker import Docker
from ops.deploy import (
    danger,
    database_upgrade,
    guard,
    other_commit,
    preflight,
    recovery,
    releases,
    repair,
    rotate,
    up,
    update,
    upgrade,
)
from ops.errors import UserError
from ops.images import build, commands, needs, source
from ops.machine import engine, engine_from_modules, system
from ops.machine.engine import EngineKind
from ops.preview import engine as previews
from ops.review import apply, record
from ops.stack.stack import Stack
from tests.support.home import DOCKER_SILENT, Home
from tests.support.previews import PREVIEW, TREE
from tests.support.stack_outputs import OUTPUTS

DOCKER = Docker("unix:///x.sock")
DOWNLOADERS = ("curl", "wget", "pip", "go", "npm", "apt-get", "debootstrap")
# As each version of the command prints it.
NO_SUCH_IMAGE = {
    "20.10": "Error: No such image: x",
    "26": "Error response from daemon: No such image: x",
    "29": "error: no such image: x",
}


def docker_double(home: Home, *, present: str = "*", missing: str = NO_SUCH_IMAGE["26"]) -> None:
    """A docker whose `image ls` lists no image pulled by digest, as Docker 29 without --all. present: a shell pattern."""
    home.program(
        "docker",
        f"""case "$*" in
          *" version "*) echo 29.1.3 ;;
          *" image ls "*) exit 0 ;;
          *" image inspect "*) case "${{@: -1}}" in {present}) echo sha256:1 ;; *) echo; echo "{missing}" >&2; exit 1 ;; esac ;;
          *" pull "*|*" build "*|*" buildx "*) echo "no such host" >&2; exit 1 ;;
        esac""",
    )


@pytest.fixture
def offline(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A prepared machine without internet: a request raises, and programs that would download fail."""

    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("the network was asked without need")

    for place, name in (
        (system, "answers"),
        (httpx.HTTPTransport, "handle_request"),
        (socket, "create_connection"),
        (socket, "getaddrinfo"),
    ):
        monkeypatch.setattr(place, name, refuse)
    for program in DOWNLOADERS:
        home.program(program, "exit 1")
    docker_double(home)
    home.program("pulumi", "case $1 in version) echo v3.272.0 ;; stack) echo '[]' ;; esac")
    home.program("pulumi-language-python", "true")
    home.plugins()
    return home


def downloads(home: Home) -> list[str]:
    """Calls of programs that would have asked the network."""
    asked = [call for call in home.calls("docker") if any(f" {word} " in f" {call} " for word in ("pull", "build", "buildx"))]
    asked += [call for call in home.calls("pulumi") if call.startswith("plugin install")]
    return asked + [f"{program} {call}" for program in DOWNLOADERS for call in home.calls(program)]


@pytest.fixture
def stack(offline: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """The stack ``dev`` with official images, whose data was made with them."""
    monkeypatch.setattr("ops.stack.stack.ROOT", tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  skyvern:images: {source: official}\n")
    monkeypatch.setattr(source, "source_of", lambda docker, volume: "official")
    return Stack("dev")


# --- Which images are there (F05) ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", NO_SUCH_IMAGE)
def test_images_are_found_with_every_docker(home: Home, version: str) -> None:
    """F05, O3: on Docker 29, `image ls` shows an image that was pulled by digest only with --all."""
    postgres = images.OFFICIAL["postgres"]
    docker_double(home, present=postgres, missing=NO_SUCH_IMAGE[version])
    assert needs.present(DOCKER, postgres)
    assert not needs.present(DOCKER, images.references("official")["server"])
    docker_double(home, missing=NO_SUCH_IMAGE[version])
    lines: list[str] = []
    build.build(DOCKER, "official", lines.append, host=HostSettings())
    assert lines == ["all 5 images are present"]


def test_a_daemon_that_fails_has_neither_image_nor_no_image(home: Home) -> None:
    home.program("docker", DOCKER_SILENT)
    with pytest.raises(UserError, match="no daemon answers"):
        needs.present(DOCKER, images.OFFICIAL["postgres"])


# --- What is asked of a registry (F07) -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lacks", "taken"),
    [
        ((), []),
        # Built here, on a base that is here.
        (("gateway",), []),
        (("caddy",), []),
        (("gateway", "debian"), ["debian"]),
        (("postgres",), ["postgres"]),
        # Postgres comes with its base; the builder pulls that of ours.
        (("postgres", "debian"), ["postgres"]),
        # Whoever lacks a base alone builds nothing on it.
        (("debian",), []),
    ],
)
def test_a_registry_is_needed_for_what_is_not_there(home: Home, lacks: tuple[str, ...], taken: list[str]) -> None:
    references = images.references("official")
    present = "|".join(reference for image, reference in references.items() if image not in lacks)
    docker_double(home, present=present)
    missing = needs.outstanding(DOCKER, "official")
    assert needs.from_registry(DOCKER, "official", missing) == taken
    assert needs.from_registry(DOCKER, "packages", needs.outstanding(DOCKER, "packages")) == []


def test_the_source_stays_where_nothing_is_missing(stack: Stack, offline: Home) -> None:
    """F07: "no image registry answers" with every image present, and an official stack could not be updated."""
    assert source.choose_source(stack, None, DOCKER, offline.say) == "official"
    assert source.choose_source(stack, "official", DOCKER, offline.say) == "official"
    assert offline.lines == []


def test_the_source_is_asked_for_what_is_missing(stack: Stack, offline: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_double(offline, present="none")
    monkeypatch.setattr(system, "answers", lambda *_, **__: False)
    with pytest.raises(UserError, match=r"^images: no image registry answers .* the data of this stack was made with official"):
        source.choose_source(stack, None, DOCKER, offline.say)


# --- Each command (F07) --------------------------------------------------------------------------------------------------


@pytest.fixture
def applied(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Doubles for what runs on the stack's own host: Pulumi's update, and the checks of what is deployed."""
    seen: list[str] = []
    monkeypatch.setattr(guard, "check", lambda *_, **__: None)
    monkeypatch.setattr(preflight, "check", lambda *_: None)
    monkeypatch.setattr(recovery, "recover", lambda *_: None)
    monkeypatch.setattr(repair, "repair", lambda *_, **__: None)
    monkeypatch.setattr(repair, "wait_until_healthy", lambda *_: None)
    monkeypatch.setattr(Stack, "state", lambda stack: {})
    monkeypatch.setattr(danger, "take_set", lambda *_: None)
    monkeypatch.setattr(upgrade, "plan", lambda *_: None)
    monkeypatch.setattr(update, "pulumi_up", lambda *_, **__: seen.append("up"))
    monkeypatch.setattr(update, "run_smoke", lambda *_, **_warn: (21, 21))
    monkeypatch.setattr(releases, "record_good", lambda *_: None)
    monkeypatch.setattr(Stack, "outputs", lambda stack: OUTPUTS)
    return seen


def test_script_up(applied: list[str], offline: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """F07."""
    assert up.main([]) == 0, capsys.readouterr().err
    assert "all 5 images are present" in capsys.readouterr().out
    assert (applied, downloads(offline)) == (["up"], [])


def test_ops_apply(applied: list[str], stack: Stack, offline: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """F07."""
    preview = dataclasses.replace(PREVIEW, stack="dev")
    monkeypatch.setattr(previews, "preview", lambda *_, **__: preview)
    monkeypatch.setattr(git, "tree_of", lambda root: TREE)
    lines: list[str] = []
    apply._apply(record.record(preview, tree=TREE), unreviewed=False, progress=lines.append)
    assert lines[0] == "all 5 images are present"
    assert (applied, downloads(offline)) == (["up"], [])


def test_ops_apply_keeps_the_engine(applied: list[str], stack: Stack, offline: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it goes on with an upgrade, and before the preview, which compares the state with a daemon that is another one."""
    service = {"type": "docker:index/service:Service", "outputs": {"name": "skyvern-dev-server"}}
    monkeypatch.setattr(Stack, "state", lambda stack: {"resources": [service]})
    monkeypatch.setattr(database_upgrade, "finish", lambda *_: applied.append("database"))
    monkeypatch.setattr(previews, "preview", lambda *_, **__: applied.append("preview"))
    monkeypatch.setattr(git, "tree_of", lambda root: TREE)
    with pytest.raises(UserError, match="it runs on a Swarm, its data in a shared folder"):
        apply._apply(record.record(dataclasses.replace(PREVIEW, stack="dev"), tree=TREE), unreviewed=False, progress=print)
    assert applied == []


def test_ops_rotate(applied: list[str], stack: Stack, offline: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """F07."""
    monkeypatch.setattr(rotate, "database_password", lambda stack: SecretStr("old"))
    monkeypatch.setattr(rotate, "session_token", lambda outputs, http: None)
    monkeypatch.setattr(rotate, "previous_is_rejected", lambda name, old, http: True)
    monkeypatch.setattr(update, "preview", lambda stack: applied.append("preview"))
    rotate.rotate("database", stack, yes=True)
    assert stack.settings().rotation.database == 2
    assert (applied, downloads(offline)) == (["preview", "up"], [])


def test_ops_images_build(stack: Stack, offline: Home, capsys: pytest.CaptureFixture[str]) -> None:
    commands.build_images(stack)
    assert "all 5 images are present" in capsys.readouterr().out
    assert downloads(offline) == []


def test_ops_doctor_looks_for_images_on_the_daemon_alone(offline: Home) -> None:
    """F05, F07: doctor ended with exit 1 for ever, because it saw no image that had been pulled by digest."""
    offline.program(
        "docker", """case "$*" in *" image inspect "*) echo sha256:1 ;; *inspect*) echo '[{"Id": "sha256:1"}]' ;; esac"""
    )
    settings = parse({}, file="Pulumi.dev.yaml")
    seen = {reference: needs.image_id(DOCKER, reference) for reference in needs.running_images(settings).values()}
    assert set(seen.values()) == {"sha256:1"}
    assert downloads(offline) == []


# --- The engine (F07) ----------------------------------------------------------------------------------------------------


def without_cli(home: Home) -> None:
    (home.bin / "pulumi").unlink()


def test_the_official_engine_of_an_earlier_run_is_not_downloaded_again(offline: Home) -> None:
    without_cli(offline)
    offline.program("pulumi", f"echo v{engine.sdk_version()}", engine.official_root() / "bin")
    assert engine.ensure_engine(None, offline.say).kind is EngineKind.OFFICIAL
    assert downloads(offline) == []


@pytest.fixture
def built_before(offline: Home, built: engine_from_modules.Engine, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A machine whose engine was built from modules by an earlier run, when get.pulumi.com did not answer."""
    without_cli(offline)
    (offline.bin / "go").unlink()
    offline.program("go", "echo go1.26.8")
    (offline.path / ".cache/skyvern-stack/engine" / engine_from_modules.content_hash()).mkdir(parents=True)
    with monkeypatch.context() as first:
        first.setattr(system, "answers", lambda *_, **__: False)
        assert engine.ensure_engine(None, offline.say).kind is EngineKind.MODULES
    offline.program("go", "exit 1")
    (offline.path / "go.log").unlink(missing_ok=True)
    return offline


def test_an_engine_that_was_built_is_used_without_asking_for_another(built_before: Home) -> None:
    """F07: every script/up asked get.pulumi.com, and needed Go."""
    made = engine.ensure_engine(None, built_before.say)
    assert made.kind is EngineKind.MODULES
    assert downloads(built_before) == []


@pytest.mark.parametrize("requested", ["auto", "official"])
def test_another_engine_is_asked_for_by_an_option(
    built_before: Home, monkeypatch: pytest.MonkeyPatch, requested: engine.EngineChoice
) -> None:
    asked: list[str] = []

    def answers(url: str, *_: object, **__: object) -> bool:
        asked.append(url)
        return False

    monkeypatch.setattr(system, "answers", answers)
    if requested == "auto":
        assert engine.ensure_engine("auto", built_before.say).kind is EngineKind.MODULES
    else:
        with pytest.raises(UserError, match=r"get\.pulumi\.com does not answer"):
            engine.ensure_engine("official", built_before.say)
    assert asked == [engine.official_url()]


# --- ops rollback (F07) --------------------------------------------------------------------------------------------------


def test_a_rollback_takes_the_engine_that_was_decided_here(offline: Home, tmp_path: Path) -> None:
    """F07: the other checkout had no record, so its script/up asked get.pulumi.com and forgot a choice made with --engine."""
    here = engine.ensure_engine(None, offline.say)
    folder = tmp_path / "rollback"
    with other_commit.shared_engine(folder):
        assert engine.record_file(folder) != engine.record_file()
        assert engine.read_record(folder) == here
    assert engine.read_record(folder) is None
    assert engine.read_record() == here


def test_a_rollback_without_an_engine_shares_none(home: Home, tmp_path: Path) -> None:
    with other_commit.shared_engine(tmp_path):
        assert engine.read_record(tmp_path) is None
