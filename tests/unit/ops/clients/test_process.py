"""Two programs after one another: whichever fails is the one that is named."""

from pathlib import Path

import pytest

from ops.clients import process
from ops.errors import UserError


def test_what_the_first_prints_is_the_input_of_the_second(tmp_path: Path) -> None:
    target = tmp_path / "arrived"
    process.pipe(["printf", "a\nb\n"], ["sh", "-c", f"cat > {target}"], timeout_seconds=30)
    assert target.read_text() == "a\nb\n"


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("echo torn; echo gone >&2; exit 3", "cat", "sh: exit 3: gone"),
        # It would print for ever.
        ("while echo y; do :; done 2> /dev/null", "echo refused >&2; exit 2", "sh: exit 2: refused"),
    ],
)
def test_the_one_that_fails_is_named(source: str, target: str, said: str) -> None:
    with pytest.raises(UserError) as failed:
        process.pipe(["sh", "-c", source], ["sh", "-c", target], timeout_seconds=30)
    assert str(failed.value) == said


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="nowhere: not found on PATH"):
        process.pipe(["nowhere"], ["cat"], timeout_seconds=30)


def test_what_a_failing_command_has_found_is_its_output_where_that_is_asked_for() -> None:
    found = ["sh", "-c", "echo found; exit 3"]
    assert process.capture(found, any_code=True) == b"found\n"
    with pytest.raises(UserError, match="sh: exit 3: found"):
        process.capture(found)
    with pytest.raises(UserError, match="sh: exit 3: broken"):
        process.capture(["sh", "-c", "echo broken >&2; exit 3"], any_code=True)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("kill -9 $$", "sh: was ended by a signal (Killed); is memory left (free -m)?"),
        ("echo half >&2; kill -15 $$", "sh: was ended by a signal (Terminated): half"),
        ("exit 3", "sh: exit 3: it printed nothing"),
        ("echo why >&2; exit 3", "sh: exit 3: why"),
    ],
)
def test_how_a_program_has_ended(body: str, line: str) -> None:
    """Linux ends a program where memory runs out; it was "docker: exit -9: "."""
    with pytest.raises(UserError) as told:
        process.capture(["sh", "-c", body])
    assert str(told.value) == line
