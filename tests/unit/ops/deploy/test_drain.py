"""The countdown of the server's drain beside ``pulumi up``, with a docker that prints a server's log."""

import os
import time
from pathlib import Path

import pytest

from ops.clients import terminal
from ops.deploy import drain, update
from ops.errors import UserError
from ops.machine import backend
from ops.stack.stack import Stack
from tests.support.home import Home

LOG = """
echo 'skyvern-drain: 2 in progress, 285 s left at most: wr_1, wr_2'
echo '{"event": "of Skyvern, with skyvern-drain: in it"}'
echo 'skyvern-drain: on the other stream' >&2
printf 'skyvern-drain: \\033[31mred\\377\\033[0m\\n'
"""
SHOWN = ["server: 2 in progress, 285 s left at most: wr_1, wr_2", "server: red\ufffd"]
# As docker logs does for a server that runs.
FOLLOW = "echo $$ > $HOME/pid; exec sleep 60"


@pytest.fixture
def stack(tmp_path: Path, home: Home) -> Stack:
    """The stack ``dev`` after script/bootstrap."""
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    home.record_engine()
    backend.ensure_state(home.say)
    return Stack("dev", root=tmp_path)


def wait_for(path: Path) -> str:
    for _ in range(100):
        if path.exists() and path.read_text().strip():
            break
        time.sleep(0.05)
    return path.read_text().strip()


@pytest.mark.parametrize(
    ("docker", "minutes"),
    [("echo '[\"DRAIN_SECONDS=3600\"]'", 60), ("echo '[\"DRAIN_SECONDS=60\"]'", 5), ("echo no such container >&2; exit 1", 5)],
    ids=["longer before", "shorter before", "none runs"],
)
def test_a_stop_waits_for_the_drain_of_the_server_that_runs(stack: Stack, home: Home, docker: str, minutes: int) -> None:
    """And as long as the stack file says now."""
    home.program("docker", docker)
    assert drain.stop_seconds(stack) == 60 * minutes + 240


def test_the_lines_of_the_drain_are_shown_while_pulumi_works(stack: Stack, home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    home.program("docker", f"{LOG}\n{FOLLOW}")
    home.program("pulumi", "for _ in $(echo {1..100}); do [[ -s $HOME/pid ]] && break; sleep 0.05; done; sleep 0.3; echo updated")
    update.pulumi_up(stack, unasked=True)
    assert capfd.readouterr().out.splitlines() == [*SHOWN, "updated"]
    assert home.calls("docker") == ["--host unix:///var/run/docker.sock logs --follow --tail 0 skyvern-dev-server"]


@pytest.mark.parametrize(("minutes", "hints"), [(5, 1), (0, 0)])
def test_where_pulumi_draws_on_the_terminal_the_lines_are_in_its_title(
    stack: Stack, home: Home, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], minutes: int, hints: int
) -> None:
    stack.file.write_text(f"config:\n  skyvern:server:\n    drain_minutes: {minutes}\n")
    monkeypatch.setattr(terminal, "attended", lambda: True)
    home.program("docker", f"{LOG}\n{FOLLOW}")
    home.program("pulumi", "for _ in $(echo {1..100}); do [[ -s $HOME/pid ]] && break; sleep 0.05; done; sleep 0.3; echo updated")
    update.pulumi_up(stack, unasked=False)
    *hint, last = capfd.readouterr().out.splitlines()
    assert last == "".join(f"\x1b]2;{line}\x07" for line in SHOWN) + "updated"
    assert len(hint) == hints
    assert all(f"runs in progress have {minutes} min to end" in line for line in hint)


@pytest.mark.parametrize("ignores", ["", "trap '' TERM; "])
def test_nothing_is_left_behind(stack: Stack, home: Home, monkeypatch: pytest.MonkeyPatch, ignores: str) -> None:
    monkeypatch.setattr(drain, "END_SECONDS", 0.2)
    home.program("docker", ignores + FOLLOW)
    with drain.countdown(stack, home.say):
        followed = wait_for(home.path / "pid")
    assert not Path(f"/proc/{followed}").exists()


def test_it_ends_with_the_container_and_the_update_goes_on(stack: Stack, home: Home) -> None:
    home.program("docker", LOG)
    lines: list[str] = []
    with drain.countdown(stack, lines.append):
        for _ in range(200):
            if len(lines) >= 2:
                break
            time.sleep(0.05)
    assert lines == SHOWN


@pytest.mark.parametrize("docker", ["echo 'No such container' >&2; exit 1", None])
def test_no_server_and_no_docker_fail_no_update(stack: Stack, home: Home, docker: str | None) -> None:
    if docker:
        home.program("docker", docker)
    home.program("pulumi", "true")
    update.pulumi_up(stack, unasked=True)
    assert len(home.calls("pulumi")) == 1


def test_an_update_that_fails_fails_as_before(stack: Stack, home: Home) -> None:
    # What else is asked of it then has an answer at once.
    home.program("docker", f'case "$*" in *" logs "*) {FOLLOW} ;; esac')
    home.program("pulumi", "exit 255")
    with pytest.raises(UserError, match="pulumi up: exit 255"):
        update.pulumi_up(stack, unasked=True)


def test_a_terminal_that_is_gone_fails_no_update(stack: Stack, home: Home) -> None:
    """A closed pipe, for example; the thread ends and the log is still read away."""

    def gone(line: str) -> None:
        raise BrokenPipeError

    home.program("docker", f"{LOG}\n{FOLLOW}")
    with drain.countdown(stack, gone):
        wait_for(home.path / "pid")


def test_ctrl_c_does_not_reach_it(stack: Stack, home: Home) -> None:
    """Pulumi gets it and finishes its step, which may be the drain."""
    home.program("docker", FOLLOW)
    with drain.countdown(stack, home.say):
        followed = int(wait_for(home.path / "pid"))
        assert os.getpgid(followed) != os.getpgid(0)


def test_over_ssh_docker_asks_the_host_of_the_stack_file(stack: Stack, home: Home) -> None:
    stack.file.write_text("config:\n  skyvern:host:\n    docker_host: ssh://deploy@h.example\n")
    home.program("docker", FOLLOW)
    with drain.countdown(stack, home.say):
        wait_for(home.path / "pid")
    assert home.calls("docker") == ["--host ssh://deploy@h.example logs --follow --tail 0 skyvern-dev-server"]
