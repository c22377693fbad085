"""ops.paths: the folders of the cache and of the configuration, and what is written whole or not at all."""

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ops import paths
from ops.paths import made_once, write_whole


@pytest.mark.parametrize(
    ("folder", "variable", "default"),
    [(paths.cache_dir, "XDG_CACHE_HOME", ".cache"), (paths.config_dir, "XDG_CONFIG_HOME", ".config")],
)
def test_folders_are_in_the_home_unless_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Callable[[], Path], variable: str, default: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in (None, ""):
        monkeypatch.delenv(variable, raising=False) if value is None else monkeypatch.setenv(variable, value)
        assert folder() == tmp_path / default / "skyvern-stack"
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    assert folder() == tmp_path / "elsewhere" / "skyvern-stack"


def test_a_new_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    before = os.umask(0o027)
    try:
        write_whole(path, "new\n")
    finally:
        os.umask(before)
    assert path.read_text() == "new\n"
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_a_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    write_whole(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", mode)


def test_whoever_reads_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as opened_before:
        write_whole(path, "new")
        assert opened_before.read() == "old"
    assert path.read_text() == "new"


def full_disk(path: Path, text: str, **_: object) -> None:
    """Writes a half, as on a disk that is full then."""
    with path.open("w") as file:
        file.write(text[: len(text) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refuse(*_: object) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize(
    ("method", "failure", "before"),
    [
        ("write_text", full_disk, "old"),
        ("write_text", full_disk, None),
        # A new file has no mode to keep.
        ("chmod", refuse, "old"),
        ("replace", refuse, "old"),
        ("replace", refuse, None),
    ],
)
def test_a_write_that_fails_leaves_no_half_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, failure: Callable[..., None], before: str | None
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_text(before)
    with monkeypatch.context() as failing:
        failing.setattr(Path, method, failure)
        with pytest.raises(OSError, match=r"No space left|not permitted"):
            write_whole(path, "new and longer")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == ([] if before is None else [("file", before)])


def test_a_file_of_ours_alone_is_never_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o600)
    modes = []

    def write(partial: Path, text: str, **_: object) -> None:
        modes.append(partial.stat().st_mode & 0o777)

    monkeypatch.setattr(Path, "write_text", write)
    write_whole(path, "new")
    assert modes == [0o600]


def test_ends_of_line_stay(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", "한국어\r\n")
    assert (tmp_path / "file").read_bytes() == "한국어\r\n".encode()


def test_a_folder_is_made_by_one_of_those_who_ask_for_it_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "wheel-0123456789ab"
    makers: list[int] = []

    def make(partial: Path) -> None:
        makers.append(threading.get_ident())
        assert not folder.exists()
        (partial / "first").touch()
        time.sleep(0.2)
        (partial / "second").touch()

    seen: list[list[str]] = []

    def ask() -> None:
        seen.append(sorted(entry.name for entry in made_once(folder, make).iterdir()))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(makers) == 1
    assert seen == [["first", "second"]] * 3


def test_a_folder_that_could_not_be_made_is_not_there_and_is_made_the_next_time(tmp_path: Path) -> None:
    folder = tmp_path / "wheel-0123456789ab"
    # Of a process that was killed.
    (tmp_path / ".wheel-0123456789ab").mkdir()
    (tmp_path / ".wheel-0123456789ab" / "half").touch()

    def fail(partial: Path) -> None:
        (partial / "half").touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        made_once(folder, fail)
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_dir()] == []
    assert list(made_once(folder, lambda partial: (partial / "whole").touch()).iterdir()) == [folder / "whole"]


def test_a_folder_that_another_checkout_may_be_using_stays(tmp_path: Path) -> None:
    used, unused, named_alike = (tmp_path / name for name in ("go-ba9876543210", "go-aa9876543210", "go-tools-aa9876543210"))
    for folder in (used, unused, named_alike):
        folder.mkdir()
    os.utime(unused, (0, 0))
    os.utime(named_alike, (0, 0))
    mine = made_once(tmp_path / "go-0123456789ab", lambda partial: None)
    assert used.is_dir()
    assert named_alike.is_dir()
    assert not unused.exists()
    # A use counts, not only the making.
    os.utime(mine, (0, 0))
    made_once(mine, lambda partial: None)
    made_once(used, lambda partial: None)
    assert mine.is_dir()
