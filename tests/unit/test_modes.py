"""What is left in the user's cache folder is the user's alone: logs of builds, pictures of the UI."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.rehearsal import browser
from ops.clients import process
from ops.errors import UserError


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_log_is_of_this_user_alone(tmp_path: Path) -> None:
    log = tmp_path / "cache" / "logs" / "build.log"
    process.stream(["sh", "-c", "echo a-secret"], log=log)
    assert mode(log) == 0o600
    assert mode(log.parent) == 0o700
    # Also one of an older version, and of a command that fails.
    log.chmod(0o644)
    with pytest.raises(UserError, match=r"a line$"):
        process.stream(["sh", "-c", "echo a line; exit 1"], log=log)
    assert mode(log) == 0o600
    assert log.read_text() == "a line\n"


def test_pictures_are_of_this_user_alone(tmp_path: Path) -> None:
    pictures = tmp_path / "rehearsal"
    pictures.mkdir()
    (pictures / "01-old.png").touch()
    with browser.open_to_the_container(pictures) as taken:
        assert not any(pictures.iterdir())
        # The image's user writes here, and nobody else of this machine comes this far.
        assert mode(taken) == 0o777
        assert mode(taken.parent) == 0o700
        (taken / "01-login.png").write_bytes(b"a picture")
    assert mode(pictures) == 0o700
    assert [(path.name, mode(path)) for path in pictures.iterdir()] == [("01-login.png", 0o600)]


def test_pictures_of_a_failure_are_kept_too(tmp_path: Path) -> None:
    def fail() -> None:
        with browser.open_to_the_container(tmp_path / "rehearsal") as taken:
            (taken / "01-failed.png").touch()
            raise UserError("it failed")

    with pytest.raises(UserError):
        fail()
    assert (tmp_path / "rehearsal" / "01-failed.png").is_file()
