"""ops.deploy.rotate with doubles: what is said before, what is written, the steps in order, and that the old secret is tried."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from components.settings import RotationSettings
from ops.clients import process
from ops.clients.docker import Docker
from ops.deploy import recovery, rotate, sessions, update, upgrade
from ops.errors import UserError
from ops.stack import impact
from ops.stack.outputs import Outputs
from ops.stack.stack import Stack
from tests.support.lock import REFUSED, held
from tests.support.stack_outputs import OUTPUTS

STACK_FILE = """\
# The stack on this machine.
config:
  skyvern:host:
    docker_host: unix:///run/x.sock # its own
  skyvern:rotation: # numbers that go up
    database: 4
"""


def outputs(generation: str) -> Outputs:
    return OUTPUTS.model_copy(
        update={
            "ui_password": SecretStr(f"{generation}-password"),
            "api_key": SecretStr(f"{generation}-key"),
            "smoke_api_key": SecretStr(f"{generation}-smoke-key"),
        }
    )


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Doubles for everything outside; the list tells what was called."""
    calls: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("ops.stack.stack.ROOT", tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK_FILE)
    generations = iter(["old", "new"])
    monkeypatch.setattr(recovery, "recover", lambda stack, docker, _: calls.append(f"recover at {docker.host}"))
    monkeypatch.setattr(upgrade, "refuse", lambda *_: None)
    monkeypatch.setattr(Stack, "outputs", lambda stack: outputs(next(generations)))
    monkeypatch.setattr(rotate, "database_password", lambda stack: SecretStr("old-database-password"))
    monkeypatch.setattr(update, "preview", lambda stack: calls.append("preview"))
    monkeypatch.setattr(update, "pulumi_up", lambda stack, unasked, previewed: calls.append(f"up {unasked} {previewed}"))

    def green(*_: object) -> tuple[int, int]:
        calls.append("smoke")
        return 21, 21

    monkeypatch.setattr(update, "run_smoke", green)

    def refused(name: str, old: rotate.PreviousSecrets, _: object) -> bool:
        calls.append(f"try {name} {old.outputs.api_key.get_secret_value()}")
        return True

    monkeypatch.setattr(rotate, "previous_is_rejected", refused)
    monkeypatch.setattr(rotate, "session_token", lambda outputs, _: SecretStr("old-session"))
    monkeypatch.setattr(sessions, "end", lambda docker, _: calls.append("end sessions"))

    def ended(old: rotate.PreviousSecrets, _: object) -> bool:
        assert old.session_token is not None
        calls.append(f"try {old.session_token.get_secret_value()}")
        return True

    monkeypatch.setattr(rotate, "sessions_are_ended", ended)
    return calls


def stack_file(tmp_path: Path) -> str:
    return (tmp_path / "Pulumi.dev.yaml").read_text()


@pytest.mark.parametrize("name", ["dev", "organization/skyvern/dev"])
def test_the_steps_in_order(seen: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    rotate.rotate("database", Stack(name), yes=True)
    assert seen == ["recover at unix:///run/x.sock", "preview", "up True True", "smoke", "try database old-key"]
    assert stack_file(tmp_path) == STACK_FILE.replace("database: 4", "database: 5")
    printed = capsys.readouterr().out
    assert printed.index("up to 90 s") < printed.index("rotation.database: 5")
    assert "-password" not in printed
    assert "-key" not in printed.replace("api-key", "")


def test_all_is_one_up(seen: list[str], tmp_path: Path) -> None:
    rotate.rotate("all", Stack("dev"), yes=True)
    assert seen.count("up True True") == 1
    assert [call for call in seen if call.startswith("try")] == [
        "try database old-key",
        "try api-key old-key",
        "try ui-login old-key",
        "try old-session",
    ]
    assert Stack("dev").settings().rotation == RotationSettings(database=5, api_key=2, ui_login=2)


def test_nothing_is_done_unasked(seen: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"^ops rotate: there is no terminal to ask on; add --yes$"):
        rotate.rotate("ui-login", Stack("dev"), yes=False)
    assert seen == []
    assert stack_file(tmp_path) == STACK_FILE
    assert "up to 15 s" in capsys.readouterr().out


def test_beside_another_command_nothing_is_touched(seen: list[str], tmp_path: Path) -> None:
    with held(), pytest.raises(UserError, match=REFUSED):
        rotate.rotate("database", Stack("dev"), yes=True)
    assert seen == []
    assert stack_file(tmp_path) == STACK_FILE


@pytest.mark.parametrize("answer", ["", "n"])
def test_who_says_no_keeps_the_file(seen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    with pytest.raises(UserError, match=r"^ops rotate: not rotated; Pulumi\.dev\.yaml is as before$"):
        rotate.rotate("database", Stack("dev"), yes=False)
    assert stack_file(tmp_path) == STACK_FILE
    assert "up True True" not in seen


def test_a_failed_plan_keeps_the_file(seen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(stack: Stack) -> None:
        raise UserError("pulumi preview: exit 255")

    monkeypatch.setattr(update, "preview", fail)
    with pytest.raises(UserError, match=r"^pulumi preview"):
        rotate.rotate("database", Stack("dev"), yes=True)
    assert stack_file(tmp_path) == STACK_FILE


def test_a_failed_up_keeps_the_epoch_and_says_how_to_go_on(
    seen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(stack: Stack, **_: Any) -> None:
        raise UserError("pulumi up: exit 255; see its messages")

    monkeypatch.setattr(update, "pulumi_up", fail)
    with pytest.raises(UserError, match=r"^pulumi up: exit 255; .* keeps the new epoch; script/up --stack dev finishes"):
        rotate.rotate("database", Stack("dev"), yes=True)
    assert "database: 5" in stack_file(tmp_path)


def test_an_old_secret_that_still_works_is_a_failure(seen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotate, "previous_is_rejected", lambda name, *_: name != "api-key")
    with pytest.raises(UserError, match=r"^ops rotate: the old secret still works: api-key; "):
        rotate.rotate("all", Stack("dev"), yes=True)


@pytest.mark.parametrize("what", ["ui-login", "api-key"])
def test_sessions_end_once_the_new_login_counts(seen: list[str], what: Any) -> None:
    rotate.rotate(what, Stack("dev"), yes=True)
    assert seen.index("up True True") < seen.index("end sessions") < seen.index("smoke") < seen.index("try old-session")


def test_a_session_that_still_works_is_a_failure(seen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotate, "sessions_are_ended", lambda *_: False)
    with pytest.raises(UserError, match=r"^ops rotate: the old secret still works: an earlier session; "):
        rotate.rotate("ui-login", Stack("dev"), yes=True)


def test_a_stack_that_gave_no_session_is_rotated_all_the_same(
    seen: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rotate, "sessions_are_ended", lambda *_: None)
    rotate.rotate("ui-login", Stack("dev"), yes=True)
    assert "skip  an earlier session token is refused: there was none to try" in capsys.readouterr().out


def test_a_red_smoke_is_a_failure(seen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "run_smoke", lambda *_, **warned: (19, 21))
    with pytest.raises(UserError, match=r"^ops rotate: rotated, but 19 of 21 smoke checks are green"):
        rotate.rotate("database", Stack("dev"), yes=True)


EDGE = """\
  skyvern:edge:
    provider: cloudflare
    domain: example.com
    api_token:
      secure: v1:abc
  skyvern:frontend:
    provider: vercel
    api_token:
      secure: v1:abc
    team: acme
    plan: pro
"""


@pytest.mark.parametrize(("what", "why"), [("gateway", "frontend.provider is not vercel"), ("tunnel", "edge.provider is not")])
def test_a_secret_that_the_stack_has_not_is_named(seen: list[str], tmp_path: Path, what: Any, why: str) -> None:
    with pytest.raises(UserError, match=rf"^ops rotate: stack dev has no such secret: {why}"):
        rotate.rotate(what, Stack("dev"), yes=True)
    assert seen == []
    assert stack_file(tmp_path) == STACK_FILE


@pytest.mark.parametrize(("what", "seconds"), [("gateway", 15), ("tunnel", 90)])
def test_the_edges_secrets_rotate(
    seen: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], what: Any, seconds: int
) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK_FILE + EDGE)
    rotate.rotate(what, Stack("dev"), yes=True)
    assert f"up to {seconds} s" in capsys.readouterr().out
    assert Stack("dev").settings().rotation == RotationSettings(database=4, **{what: 2})


def test_all_of_a_stack_on_vercel_are_five(seen: list[str], tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK_FILE + EDGE)
    rotate.rotate("all", Stack("dev"), yes=True)
    assert [call.split()[1] for call in seen if call.startswith("try")] == [*impact.ROTATIONS, "old-session"]


# --- The proof -----------------------------------------------------------------------------------------------------------


OLD = rotate.PreviousSecrets(outputs("old"), SecretStr("old-database-password"))


def answering(answer: Callable[[httpx.Request], int]) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(answer(request))))


@pytest.mark.parametrize(("status", "refused"), [(403, True), (200, False), (502, False)])
@pytest.mark.parametrize("key", ["old-key", "old-smoke-key"])
def test_both_old_keys_are_tried(key: str, status: int, refused: bool) -> None:
    http = answering(lambda request: status if request.headers["x-api-key"] == key else 403)
    assert rotate.previous_is_rejected("api-key", OLD, http) is refused


def test_a_stack_of_a_version_without_the_smoke_runs_key_can_be_rotated() -> None:
    old = dataclasses.replace(OLD, outputs=OLD.outputs.model_copy(update={"smoke_api_key": None}))
    assert rotate.previous_is_rejected("api-key", old, answering(lambda request: 403)) is True


@pytest.mark.parametrize(("status", "refused"), [(401, True), (200, False), (502, False)])
def test_the_old_login_is_tried(status: int, refused: bool) -> None:
    # "skyvern:old-password"
    expected = "Basic c2t5dmVybjpvbGQtcGFzc3dvcmQ="
    http = answering(lambda request: status if request.headers["authorization"] == expected else 500)
    assert rotate.previous_is_rejected("ui-login", OLD, http) is refused


@pytest.mark.parametrize("key", [None, SecretStr("old-gateway-key")])
def test_a_session_is_opened_as_the_ui_does(key: SecretStr | None) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"token": "a-token", "expires_at": 1})

    http = httpx.Client(transport=httpx.MockTransport(answer))
    token = rotate.session_token(outputs("old").model_copy(update={"gateway_key": key}), http)
    assert token is not None
    assert token.get_secret_value() == "a-token"
    (request,) = asked
    assert request.url.path.endswith("/ui-session")
    if key is None:
        assert request.headers["sec-fetch-site"] == "same-origin"
        assert request.headers["authorization"].startswith("Basic ")
    else:
        assert request.headers["x-gateway-key"] == "old-gateway-key"


def test_a_stack_that_does_not_answer_gives_no_session() -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no", request=request)

    for answer in (silent, lambda _: httpx.Response(502), lambda _: httpx.Response(200, text="x")):
        assert rotate.session_token(OLD.outputs, httpx.Client(transport=httpx.MockTransport(answer))) is None


@pytest.mark.parametrize(("status", "ended"), [(403, True), (200, False), (502, False)])
def test_the_session_of_before_is_tried(status: int, ended: bool) -> None:
    http = answering(lambda request: status if request.headers["x-api-key"] == "old-session" else 500)
    assert rotate.sessions_are_ended(rotate.PreviousSecrets(OLD.outputs, SecretStr("x"), SecretStr("old-session")), http) is ended
    assert rotate.sessions_are_ended(OLD, http) is None


def test_sessions_are_ended_as_skyverns_own_role(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as the superuser: a trigger that Skyvern's role made would run as whoever deletes."""
    asked: list[tuple[str, ...]] = []

    def run(self: Docker, *arguments: Any, **_: Any) -> str:
        asked.append(arguments)
        return ""

    monkeypatch.setattr(Docker, "run", run)
    outputs = OLD.outputs.model_copy(update={"containers": {"roles": "skyvern-dev-roles"}})
    sessions.end(Docker("unix:///nowhere"), outputs)
    ((*command, script),) = asked
    assert command == ["exec", "skyvern-dev-roles", "bash", "-c"]
    assert '-U "$ROLE_NAME"' in script
    assert 'PGPASSWORD="$ROLE_PASSWORD"' in script


@pytest.mark.parametrize(("status", "refused"), [(403, True), (200, False)])
def test_the_old_gateway_key_is_tried(status: int, refused: bool) -> None:
    old = rotate.PreviousSecrets(outputs("old").model_copy(update={"gateway_key": SecretStr("old-gateway-key")}), SecretStr("x"))
    http = answering(lambda request: status if request.headers["x-gateway-key"] == "old-gateway-key" else 500)
    assert rotate.previous_is_rejected("gateway", old, http) is refused


def test_an_old_tunnel_secret_cannot_be_tried() -> None:
    assert rotate.previous_is_rejected("tunnel", OLD, answering(lambda _: 500)) is None


@pytest.mark.parametrize(("said", "refused"), [("refused\n", True), ("accepted\n", False)])
def test_the_old_database_password_is_tried_by_standard_input(monkeypatch: pytest.MonkeyPatch, said: str, refused: bool) -> None:
    def run(command: list[str], *, stdin: bytes, **_: Any) -> bytes:
        assert not any("old-database-password" in argument for argument in command)
        assert stdin == b"old-database-password"
        return said.encode()

    monkeypatch.setattr(process, "capture", run)
    assert rotate.previous_is_rejected("database", OLD, answering(lambda _: 500)) is refused


def test_no_answer_of_the_database_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Docker, "run", lambda *_, **__: "no answer\n")
    with pytest.raises(UserError, match=r"^PostgreSQL: does not answer"):
        rotate.previous_is_rejected("database", OLD, answering(lambda _: 500))


def test_no_secret_is_in_a_representation() -> None:
    assert "old-" not in repr(OLD)
