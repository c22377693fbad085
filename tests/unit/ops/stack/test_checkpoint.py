"""ops.stack.checkpoint on files: which state is broken, and which of its copies is named."""

import json
import os
import shlex
from pathlib import Path

import pytest

from ops.errors import UserError
from ops.stack import checkpoint


def save(path: Path, time: str | None) -> Path:
    """A state as the engine writes it; time None: as ``pulumi stack init`` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    latest = None if time is None else {"manifest": {"time": f"2026-01-31T{time}:00.843732537Z"}}
    path.write_text(json.dumps({"version": 3, "checkpoint": {"stack": "organization/skyvern/dev", "latest": latest}}))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a state" / ".pulumi"


def url(folder: Path) -> str:
    return f"file://{folder.parent}"


def test_whole_states_are_accepted(folder: Path) -> None:
    save(folder / "stacks/skyvern/dev.json", "10:00")
    save(folder / "stacks/skyvern/new.json", None)
    checkpoint.refuse_broken(url(folder))


def test_a_first_run_and_another_backend_have_no_files(folder: Path) -> None:
    checkpoint.refuse_broken(url(folder))
    checkpoint.refuse_broken("s3://bucket")
    for elsewhere in (url(folder), "s3://bucket"):
        checkpoint.drop_cut_off_attributes(elsewhere, pytest.fail)


@pytest.mark.parametrize("size", [0, 30])
def test_attributes_that_were_cut_off_are_removed(folder: Path, size: int) -> None:
    # Seen when the engine was killed while it wrote: "pulumi: exit 1: error: EOF" from then on, for every stack.
    path = save(folder / "stacks/skyvern/dev.json", "10:00")
    attributes = '{"user.content_type":"text/plain; charset=utf-8"}'
    whole, broken = (path.with_name(f"{name}.json.attrs") for name in ("dev", "prod"))
    whole.write_text(attributes)
    broken.write_text(attributes[:size])
    told: list[str] = []
    checkpoint.drop_cut_off_attributes(url(folder), told.append)
    assert [line.partition(" was cut off ")[0] for line in told] == [str(broken)]
    assert (whole.read_text(), broken.exists(), path.exists()) == (attributes, False, True)
    checkpoint.drop_cut_off_attributes(url(folder), told.append)
    assert len(told) == 1


@pytest.mark.parametrize("size", [0, 30])
@pytest.mark.parametrize(("history", "backup", "newest"), [("09:00", "08:00", "history"), ("08:00", "10:00", "backups")])
def test_the_newest_whole_copy_is_named(folder: Path, size: int, history: str, backup: str, newest: str) -> None:
    path = save(folder / "stacks/skyvern/dev.json", "11:00")
    save(folder / "stacks/skyvern/dev.json.bak", "07:00")
    save(folder / "history/skyvern/dev/dev-1.checkpoint.json", history)
    save(folder / "backups/skyvern/dev/dev.1.json", backup)
    save(folder / "backups/skyvern/dev/dev.2.json", "12:00").write_text("{")
    os.truncate(path, size)
    with pytest.raises(UserError) as refused:
        checkpoint.refuse_broken(url(folder))
    message = str(refused.value)
    assert message.startswith(f"{path}: is cut off or not a state file ({size} bytes), and nothing was changed; cp '")
    assert "\n" not in message
    (_, source, target) = shlex.split(message.partition("; ")[2].partition(" puts ")[0])
    assert (Path(source).relative_to(folder).parts[0], target) == (newest, str(path))


def test_the_copy_before_the_last_change_is_better_than_none(folder: Path) -> None:
    path = save(folder / "stacks/skyvern/dev.json", "11:00")
    save(folder / "stacks/skyvern/dev.json.bak", "10:59")
    os.truncate(path, 3)
    (broken,) = checkpoint.find_broken(url(folder))
    assert broken.remedy.startswith("cp ")
    assert "dev.json.bak" in broken.remedy


def test_without_a_copy_only_a_backup_helps(folder: Path) -> None:
    os.truncate(save(folder / "stacks/skyvern/dev.json", "11:00"), 3)
    with pytest.raises(UserError, match=r"; put .* back from your backup, then run script/up again$"):
        checkpoint.refuse_broken(url(folder))
