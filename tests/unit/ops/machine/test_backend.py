"""ops.machine.backend: which backend, and a passphrase that is made once, kept closed and never replaced."""

import os
import stat
from pathlib import Path

import pytest

from ops.errors import UserError
from ops.machine import backend, environment
from ops.machine.backend import decide_state
from tests.support.home import Home


def test_which_backend(home: Home) -> None:
    local = f"file://{home.path}/.config/skyvern-stack/state"
    cases = [
        ({}, "", (local, True, True)),
        ({}, "https://api.pulumi.com", ("https://api.pulumi.com", False, False)),
        ({}, "file://~", ("file://~", False, True)),
        ({"PULUMI_BACKEND_URL": "s3://bucket"}, "https://api.pulumi.com", ("s3://bucket", False, True)),
        # What script/env printed in this shell before must not turn our own folder into somebody else's.
        ({"PULUMI_BACKEND_URL": local}, "https://api.pulumi.com", (local, True, True)),
        ({"PULUMI_BACKEND_URL": ""}, "", (local, True, True)),
        # F28: a CI has a token and no file of a login; the state went silently to this machine.
        ({"PULUMI_ACCESS_TOKEN": "pul-x"}, "", ("https://api.pulumi.com", False, False)),
        (
            {"PULUMI_ACCESS_TOKEN": "pul-x", "PULUMI_API": "https://own.example.com"},
            "",
            ("https://own.example.com", False, False),
        ),
        ({"PULUMI_ACCESS_TOKEN": "pul-x"}, "s3://bucket", ("s3://bucket", False, True)),
        ({"PULUMI_ACCESS_TOKEN": "pul-x", "PULUMI_BACKEND_URL": "s3://bucket"}, "", ("s3://bucket", False, True)),
        ({"PULUMI_ACCESS_TOKEN": ""}, "", (local, True, True)),
        ({"PULUMI_API": "https://own.example.com"}, "", (local, True, True)),
    ]
    for environ, login, expected in cases:
        state = decide_state(environ, login)
        assert (state.url, state.local, state.passphrase) == expected


@pytest.mark.parametrize("text", ["{}", "", "[]", '{"current": 1}'])
def test_credentials_without_a_login(home: Home, text: str) -> None:
    (home.path / "credentials.json").write_text(text)
    assert backend.logged_in_to(home.path) == ""
    assert backend.logged_in_to(home.path / "nowhere") == ""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_passphrase_is_generated_once_and_never_shown(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    before = os.umask(0o002)
    backend.ensure_state(home.say)
    os.umask(before)
    path = backend.passphrase_file()
    phrase = path.read_text().strip()
    assert len(phrase) >= 40
    assert (mode(path), mode(path.parent), mode(backend.local_state_dir())) == (0o600, 0o700, 0o700)
    shown = "\n".join(home.lines)
    assert str(path) in shown
    assert "Without it no secret can be read again" in shown
    assert {entry.name for entry in path.parent.iterdir()} == {"state", "passphrase"}

    home.lines.clear()
    backend.ensure_state(home.say)
    assert path.read_text().strip() == phrase
    assert not any("generated" in line for line in home.lines)
    output = capfd.readouterr()
    assert phrase not in shown + "".join(home.lines) + output.out + output.err


def test_a_passphrase_made_in_the_meantime_is_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    path = backend.passphrase_file()

    def other_run_first(source: Path, target: Path) -> None:
        target.write_text("theirs")
        raise FileExistsError

    monkeypatch.setattr(os, "link", other_run_first)
    backend.ensure_state(home.say)
    assert path.read_text() == "theirs"
    assert not any("generated" in line for line in home.lines)


def test_a_passphrase_that_others_may_read_is_closed(home: Home) -> None:
    backend.ensure_state(home.say)
    backend.passphrase_file().chmod(0o644)
    backend.ensure_state(home.say)
    assert mode(backend.passphrase_file()) == 0o600


def test_a_lost_passphrase_is_not_replaced_while_there_is_state(home: Home) -> None:
    backend.ensure_state(home.say)
    stacks = backend.local_state_dir() / ".pulumi" / "stacks" / "skyvern"
    stacks.mkdir(parents=True)
    (stacks / "dev.json").write_text("{}")
    backend.passphrase_file().unlink()
    with pytest.raises(UserError, match="put it back from your copy"):
        backend.ensure_state(home.say)
    assert not backend.passphrase_file().exists()


@pytest.mark.parametrize("variable", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
def test_a_passphrase_of_the_users_own_is_respected(home: Home, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    home.record_engine()
    monkeypatch.setenv(variable, "/somewhere/else")
    backend.ensure_state(home.say)
    assert not backend.passphrase_file().exists()
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in environment.for_stacks()


def test_an_empty_passphrase_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "")
    with pytest.raises(UserError, match=r"^PULUMI_CONFIG_PASSPHRASE: is empty"):
        backend.ensure_state(home.say)
