"""ops.ownership: what another user's run has left is one line with the chown (F30)."""

import errno
import functools
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import ownership
from ops.clients import git, terminal
from ops.errors import UserError
from ops.paths import ROOT
from tests.support.home import Home

# Any user that every system has; the tests need root to take its place.
NOBODY = pwd.getpwnam("nobody").pw_uid
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of two users")


@pytest.fixture
def as_nobody(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """This process is the user nobody, whose home this is; whatever was made before is root's."""
    for folder in (home.path, *home.path.parents):
        if folder != Path("/") and folder.stat().st_uid == 0 and len(folder.parts) > 2:
            folder.chmod(folder.stat().st_mode | 0o055)
    os.chown(home.path, NOBODY, -1)
    monkeypatch.setattr(ownership, "_home", lambda uid: home.path)
    os.seteuid(NOBODY)
    try:
        yield home
    finally:
        os.seteuid(0)


def as_root(work: "object") -> None:
    os.seteuid(0)
    try:
        work()  # type: ignore[operator]  # a function without arguments
    finally:
        os.seteuid(NOBODY)


def cure_of(line: str) -> list[str]:
    """The command of a line, without sudo, which a test's machine may not have."""
    command = re.search(r"run: sudo (.*)$", line)
    assert command is not None, line
    return shlex.split(command[1])


def follow(line: str) -> None:
    """Runs the command of a line, as root and whatever PATH this test has."""
    subprocess.run(["/usr/bin/env", "PATH=/usr/bin:/bin", *cure_of(line)], check=True)


@NEEDS_ROOT
@pytest.mark.parametrize("made", [".config/skyvern-stack/state/.pulumi/stacks", ".cache/skyvern-stack/logs", ".docker"])
def test_folders_that_root_made_are_one_line_whose_cure_works(as_nobody: Home, made: str) -> None:
    """F30: sudo -E script/up first, later without sudo; it was a PermissionError with a traceback."""
    folder = as_nobody.path / made

    def make() -> None:
        folder.mkdir(parents=True)
        (folder / "a file").write_text("x")

    as_root(make)
    with pytest.raises(UserError) as told:
        ownership.check()
    top = as_nobody.path / made.split("/")[0]
    assert str(told.value) == f"{top}: belongs to root, and you are nobody; run: sudo chown -R nobody: {top}"
    as_root(lambda: follow(str(told.value)))
    ownership.check()


@NEEDS_ROOT
def test_a_user_without_a_name_gets_a_command_that_chown_takes(as_nobody: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container with `--user 1234`: chown knows no `1234:`."""
    as_root(lambda: (as_nobody.path / ".docker").mkdir())
    monkeypatch.setattr(ownership, "_name", str)
    with pytest.raises(UserError) as told:
        ownership.check()
    as_root(lambda: follow(str(told.value)))
    ownership.check()


@NEEDS_ROOT
def test_a_single_file_deep_inside(as_nobody: Home) -> None:
    folder = as_nobody.path / ".config/skyvern-stack/state/.pulumi/stacks/skyvern"
    folder.mkdir(parents=True)
    as_root(lambda: (folder / "dev.json").write_text("{}"))
    with pytest.raises(UserError, match=rf"^{folder}/dev\.json: belongs to root"):
        ownership.check()


@NEEDS_ROOT
def test_a_home_that_was_kept_is_named_as_such(as_nobody: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F30, the other way round: su with the HOME of root; nobody should be told to give root's home away."""
    kept = tmp_path / "of root"
    as_root(lambda: kept.mkdir(mode=0o700))
    monkeypatch.setenv("HOME", str(kept))
    with pytest.raises(UserError) as told:
        ownership.check()
    assert str(told.value) == (
        f"HOME: is {kept}, which belongs to root, and you are nobody; run: export HOME={shlex.quote(str(as_nobody.path))}"
    )
    # The cure, followed.
    monkeypatch.setenv("HOME", str(as_nobody.path))
    ownership.check()


@NEEDS_ROOT
@pytest.mark.parametrize("home_of_service", ["/", "/usr/sbin"])
def test_nobody_is_told_to_give_the_system_away(as_nobody: Home, monkeypatch: pytest.MonkeyPatch, home_of_service: str) -> None:
    """The user of a service has a folder of the system as its home: the line was `sudo chown -R nobody: /`."""
    monkeypatch.setenv("HOME", home_of_service)
    for known in (None, Path(home_of_service)):
        monkeypatch.setattr(ownership, "_home", lambda uid, known=known: known)
        with pytest.raises(UserError) as told:
            ownership.check()
        assert str(told.value) == (
            f"HOME: is {home_of_service}, which belongs to root, and you are nobody; run: export HOME=/a/folder/of/yours"
        )


@NEEDS_ROOT
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_what_is_above_ours_is_not_given_away(as_nobody: Home, tmp_path: Path, mode: int) -> None:
    """A checkout that root made in a folder of root's, which has others in it; with a umask of 077 nobody may enter it."""
    checkout = tmp_path / "of all" / "checkout"
    as_root(lambda: (checkout / "site").mkdir(parents=True))
    # Whatever the umask of these tests.
    for folder, its_mode in ((checkout.parent, mode), (checkout, 0o755), (checkout / "site", 0o755)):
        as_root(functools.partial(folder.chmod, its_mode))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ownership, "ROOT", checkout)
        lines = [ownership.foreign(checkout / "site" / "x")]
        if mode == 0o700:
            assert lines[0] == (
                f"{checkout.parent}: belongs to root and cannot be entered by nobody; "
                f"run: sudo chmod a+x {shlex.quote(str(checkout.parent))}"
            )
            as_root(lambda: follow(lines[0]))
            lines.append(ownership.foreign(checkout / "site" / "x"))
        assert lines[-1].endswith(f"run: sudo chown -R nobody: {shlex.quote(str(checkout))}")


@NEEDS_ROOT
def test_a_folder_that_cannot_be_made_is_made_by_the_cure(
    as_nobody: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line was to give away the folder above, which may be /srv."""
    above = tmp_path / "srv"
    as_root(lambda: above.mkdir())
    as_root(lambda: above.chmod(0o755))
    monkeypatch.setenv("XDG_CACHE_HOME", str(above / "cache"))
    with pytest.raises(UserError) as told:
        ownership.check()
    folder = above / "cache" / "skyvern-stack"
    assert str(told.value) == (
        f"{folder}: cannot be made by nobody in {above}, which belongs to root; run: sudo install -d -o nobody {folder}"
    )
    as_root(lambda: follow(str(told.value)))
    ownership.check()


@NEEDS_ROOT
def test_a_folder_on_a_disk_that_is_mounted_read_only_is_said_so(as_nobody: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error of its disk, Linux mounts it so; its mode is right, and chmod was the advice."""
    as_root(lambda: (as_nobody.path / ".docker").mkdir(mode=0o555))
    real = os.statvfs(as_nobody.path)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((*real[:8], os.ST_RDONLY, *real[9:])))
    with pytest.raises(UserError, match=r"/\.docker: Read-only file system; mount it so that it can be written to and run"):
        ownership.check()


@NEEDS_ROOT
def test_an_error_in_the_middle_is_the_same_line(as_nobody: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is not looked at in advance: no traceback."""
    as_root(lambda: (as_nobody.path / ".pulumi").mkdir(mode=0o700))

    def work() -> None:
        (as_nobody.path / ".pulumi" / "x").write_text("x")

    assert terminal.run_main("script/up", work) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"{as_nobody.path}/.pulumi: belongs to root, and you are nobody; run: sudo chown -R nobody: ")
    assert err.count("\n") == 1


def test_nothing_is_foreign_to_its_owner(home: Home) -> None:
    ownership.check(home.path)
    assert ownership.foreign(home.path / "not" / "there") == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/y"),
            "/x/y: No space left on device; free some on that disk (df -h and df -i show how full it is) and run this again",
        ),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "/x: Read-only file system; mount it so that it can be written to"),
        (OSError(errno.EMFILE, "Too many open files", "/x"), "/x: Too many open files; raise the limit with ulimit -n 4096 and"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "/x"), "/x: Is a directory; correct that and run this again"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "a\nb"),
            "'a\\nb': File name too long; correct that and run this again",
        ),
        (OSError("a text"), "a text; correct that and run this again"),
        (OSError(), "OSError; correct that and run this again"),
        (PermissionError(errno.EACCES, "Permission denied", "/etc/shadow"), "/etc/shadow: Permission denied; correct that"),
        (OSError(errno.EBADF, "Bad file descriptor", 3), "Bad file descriptor; correct that and run this again"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", b"/b\xff"), "/b\ufffd: No such file or directory"),
    ],
)
def test_what_the_system_refuses_is_one_line(error: OSError, line: str) -> None:
    assert ownership.line_of(error).startswith(line)


def test_a_fault_of_ours_is_one_line_and_keeps_its_details(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise KeyError("a-secret")

    assert terminal.run_main("script/up", work) == 1
    err = capsys.readouterr().err
    log = home.path / ".cache/skyvern-stack/logs/fault.log"
    assert err == f"KeyError: a fault of this program and not of yours; please report it with {log}\n"
    assert "a-secret" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    """As ``bin/ops logs | head``."""
    work = "lambda: [print('y' * 99) for _ in range(9999)]"
    code = f"import sys; from ops.clients.terminal import run_main; sys.exit(run_main('x', {work}))"
    done = subprocess.run(
        ["bash", "-c", f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} | head -n 1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("y" * 99 + "\n", "")


@NEEDS_ROOT
def test_the_checkout_of_another_user_is_one_line_whose_cure_works(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F30: git's "dubious ownership" read as "this folder is not a git checkout", and the guard of a stack looked open."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.delenv("SUDO_UID", raising=False)
    for path in (checkout, *checkout.rglob("*")):
        os.lchown(path, NOBODY, -1)
    for ask in (git.main_ref, lambda root: git.file_at(root, "HEAD", "program.py")):
        with pytest.raises(UserError) as told:
            ask(checkout)
        line = str(told.value)
        assert line.startswith(f"{checkout}: git refuses this checkout, which belongs to another user; run this as that user, or")
        assert "\n" not in line
    command = line.partition("in it: ")[2]
    subprocess.run(["bash", "-c", command], check=True)
    assert git.main_ref(checkout) == "refs/heads/main"


@NEEDS_ROOT
def test_an_environment_that_root_made_is_one_line_whose_cure_works() -> None:
    """script/bootstrap's own look at .venv, before there is a Python of ours: sudo script/up first, later without sudo."""
    # Below no folder of root's alone, as pytest's are.
    root = Path("/srv") / f"skyvern-test-owner-{os.getpid()}"
    (root / ".venv/lib/python3.11/site-packages").mkdir(parents=True)
    text = (ROOT / "script/bootstrap").read_text()

    def function(name: str) -> str:
        begin = text.index(f"{name}() {{")
        return text[begin : text.index("\n}\n", begin) + 3]

    # As the script has it, without what makes an environment.
    look = f'root={root}; venv="$root/.venv"\n{function("fail")}{function("own_venv")}own_venv'
    ask = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all", "bash", "-euc", look]
    try:
        refused = subprocess.run(ask, capture_output=True, text=True, check=False)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == f"bootstrap: {root}: cannot be written to by nobody; run: sudo chown -R nobody: {root}\n"
        subprocess.run(cure_of(refused.stderr.strip()), check=True)
        assert subprocess.run(ask, capture_output=True, text=True, check=False).returncode == 0
        # A user of a container has a number and no name; the line was "id: cannot find name for user ID 54321".
        nameless = [*(word.replace(str(NOBODY), "54321") if word.startswith("--re") else word for word in ask)]
        refused = subprocess.run(nameless, capture_output=True, text=True, check=False)
        assert refused.stderr == f"bootstrap: {root}: cannot be written to by 54321; run: sudo chown -R 54321:54321 {root}\n"
        subprocess.run(cure_of(refused.stderr.strip()), check=True)
        assert subprocess.run(nameless, capture_output=True, text=True, check=False).returncode == 0
    finally:
        shutil.rmtree(root)
