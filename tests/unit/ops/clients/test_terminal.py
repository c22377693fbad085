"""A command that is ended from outside, as by a closed terminal or a shutdown: what it began is cleaned up."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops.paths import ROOT
from tests.support.waiting import wait_for

# Works until it is ended, and says so in the middle of its clean-up.
WORK = """
    import sys, time
    from pathlib import Path
    from ops.clients import terminal
    folder = Path(sys.argv[1])
    def work():
        try:
            (folder / "ready").touch()
            while not (folder / "stop").exists():
                time.sleep(0.05)
        finally:
            terminal.say("cleaning up")
            (folder / "cleaning").touch()
            time.sleep(float(sys.argv[2]))
            (folder / "cleaned").touch()
    sys.exit(terminal.run_main("script/x", work))
"""


def started(
    code: str,
    folder: Path,
    *arguments: str,
    hang_up: signal.Handlers = signal.SIG_DFL,
    in_child: Callable[[], None] = lambda: None,
    **options: Any,
) -> subprocess.Popen[str]:
    """A program that is at work. hang_up: what SIGHUP does to it at first. in_child: before it begins."""

    def prepare() -> None:
        # Inherited from a pytest under nohup, it would be ignored.
        signal.signal(signal.SIGHUP, hang_up)
        in_child()

    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), folder, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        preexec_fn=prepare,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
    )
    wait_for((folder / "ready").exists, pause=0.05)
    return program


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_whatever_ends_a_command_lets_it_clean_up(number: signal.Signals, code: int, tmp_path: Path) -> None:
    """Python died at once of SIGTERM and of a closed terminal."""
    program = started(WORK, tmp_path, "0")
    program.send_signal(number)
    printed, errors = program.communicate(timeout=20)
    assert (tmp_path / "cleaned").exists()
    assert (printed, errors) == ("cleaning up\n", "script/x: interrupted; run it again to continue\n")
    assert program.returncode == code


def test_a_second_signal_does_not_cut_the_clean_up_off(tmp_path: Path) -> None:
    """A shell sends SIGHUP to its jobs, and the kernel to the group of a terminal that is gone."""
    program = started(WORK, tmp_path, "0.5")
    program.send_signal(signal.SIGHUP)
    wait_for((tmp_path / "cleaning").exists, pause=0.05)
    for number in (signal.SIGHUP, signal.SIGTERM):
        program.send_signal(number)
    program.communicate(timeout=20)
    assert ((tmp_path / "cleaned").exists(), program.returncode) == (True, 129)


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As nohup starts a command."""
    program = started(WORK, tmp_path, "0", hang_up=signal.SIG_IGN)
    program.send_signal(signal.SIGHUP)
    (tmp_path / "stop").touch()
    program.communicate(timeout=20)
    assert program.returncode == 0


def test_a_clean_up_goes_on_without_its_terminal(tmp_path: Path) -> None:
    """As when SSH drops: each line that it prints is an error then."""
    master, slave = pty.openpty()

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    program = started(WORK, tmp_path, "0", stdout=slave, stderr=slave, in_child=own_terminal)
    os.close(slave)
    os.close(master)
    assert program.wait(20) == 129
    assert (tmp_path / "cleaned").exists()


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_who_is_not_read_any_more_goes_on(kind: str, tmp_path: Path) -> None:
    """A command that no signal reaches: its terminal, or what read its lines, is gone."""
    reading, writing = pty.openpty() if kind == "terminal" else os.pipe()
    program = started(WORK, tmp_path, "0", stdout=writing)
    os.close(writing)
    os.close(reading)
    (tmp_path / "stop").touch()
    program.communicate(timeout=20)
    assert ((tmp_path / "cleaned").exists(), program.returncode) == (True, 0)


ATTENDED = """
    import os, sys
    from ops.clients import terminal
    step = (
        "trap 'echo INT >> $0/got' INT; trap 'echo TERM >> $0/got' TERM; touch $0/ready; "
        "until [ -s $0/got ]; do sleep 0.1; done; for _ in {1..12}; do sleep 0.1; done; touch $0/finished"
    )
    child = ["bash", "-c", step, sys.argv[1]]
    sys.exit(terminal.run_main("script/x", lambda: terminal.run_attended(child, env=dict(os.environ), ask=False)))
"""


@pytest.mark.parametrize(
    ("number", "to_all", "got", "code"),
    [
        (signal.SIGTERM, False, "INT\n", 143),
        # As by timeout, systemd or a shutdown. A second signal is a kill for Pulumi.
        (signal.SIGTERM, True, "TERM\n", 143),
        (signal.SIGHUP, False, "INT\n", 129),
        # As by the kernel, for the group of a terminal that is closed. Pulumi does not handle it.
        (signal.SIGHUP, True, "INT\n", 129),
    ],
)
def test_pulumi_ends_its_step_before_the_command_ends(
    number: signal.Signals, to_all: bool, got: str, code: int, tmp_path: Path
) -> None:
    program = started(ATTENDED, tmp_path, start_new_session=True)
    os.killpg(program.pid, number) if to_all else program.send_signal(number)
    program.communicate(timeout=20)
    assert (tmp_path / "got").read_text() == got
    assert ((tmp_path / "finished").exists(), program.returncode) == (True, code)


def test_ops_ends_in_the_same_way(tmp_path: Path) -> None:
    code = """
        import sys, time
        from pathlib import Path
        from ops import cli
        folder = Path(sys.argv[1])
        @cli.app.command("wait")
        def wait() -> None:
            (folder / "ready").touch()
            time.sleep(60)
        sys.argv[1:] = ["wait"]
        cli.main()
    """
    program = started(code, tmp_path)
    program.send_signal(signal.SIGTERM)
    _, errors = program.communicate(timeout=20)
    assert (errors, program.returncode) == ("", 143)
