"""git in a checkout: what is checked out, compared by content, and what main has.

Clean by content: each file is hashed and compared with the commit's tree. git's index, filters, exclusions and replaced objects
are not asked, because each can be set so that a changed file reads as the committed one (skip-worktree is the usual way to keep
a local stack file). What tools write (LEFT_OUT) is passed over: nothing is built of it, and Python reads compiled modules
from the user's cache folder (PYTHONPYCACHEPREFIX), not from a checkout.
"""

import hashlib
import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops import ownership, shell
from ops.clients import process
from ops.errors import UserError, explained

# What tools write, as .gitignore has it. At any depth only what no image's context and no import takes: the rest is left out just
# where it belongs, or a folder of that name would hide files that are built or uploaded.
LEFT_OUT = frozenset({"__pycache__"})
LEFT_OUT_PATHS = frozenset(
    {
        *(".git", ".venv", ".test", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache"),
        *("node_modules", "review", "fleet.html"),
        *("site/.vercel", "site/dist", "site/node_modules"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Head:
    """The commit that is checked out (40 hex digits). changed: paths that differ from it, untracked files included."""

    commit: str
    changed: tuple[str, ...]

    @property
    def difference(self) -> str:
        """That the checkout is not its commit, and where, as a clause; "" where it is."""
        more = f" and {len(self.changed) - 3} more" if len(self.changed) > 3 else ""
        return f"the checkout differs from its commit ({', '.join(self.changed[:3])}{more})" if self.changed else ""


class NotOwnError(UserError):
    """git does not look into the checkout of another user, whatever it is asked."""


def head(root: Path) -> Head:
    """The commit that is checked out, whatever is on main; UserError if git cannot determine it."""
    with explained(lambda failed: f"git cannot determine what is checked out ({failed})"):
        commit = run(root, "rev-parse", "--verify", "HEAD^{commit}").strip()
        committed = _committed(root, commit)
    return Head(commit=commit, changed=tuple(_changed(root, committed)))


def commit(root: Path) -> str:
    """The commit that is checked out; "" in a checkout without git, such as an archive."""
    try:
        return run(root, "rev-parse", "--verify", "HEAD^{commit}").strip()
    except UserError:
        return ""


def has(root: Path, commit: str) -> bool:
    """Whether a commit is in the checkout's repository, which a shallow clone or an archive may lack."""
    try:
        run(root, "cat-file", "-e", f"{commit}^{{commit}}")
    except UserError:
        return False
    return True


def run(root: Path, *arguments: str) -> str:
    """Output of git in a checkout, whatever the shell's variables say; UserError when it fails.

    Bytes that are not UTF-8, as in a file's name, are as in the paths of ``os``.
    """
    try:
        return os.fsdecode(process.capture(["git", "--no-replace-objects", "-C", root, *arguments], env=_variables()))
    except UserError as failed:
        # "detected dubious ownership", in four lines. Each command fails so, which would read as "no git checkout".
        if "safe.directory" in str(failed):
            raise NotOwnError(
                f"{ownership.shown(root)}: git refuses this checkout, which belongs to another user; run this as that user, or, "
                f"if you trust what is in it: git config --global --add safe.directory {shlex.quote(str(root))}"
            ) from failed
        raise


def tree_of(root: Path) -> str:
    """git's tree of what is checked out; UserError where files differ from it, because a plan is made of the files."""
    seen = head(root)
    if seen.difference:
        raise UserError(f"{seen.difference}; commit or remove that first: a review record is of a commit")
    return run(root, "rev-parse", "HEAD^{tree}").strip()


def main_ref(root: Path) -> str | None:
    """The full ref of main, the remote's if there is a remote; None where git knows no such folder.

    UserError for the checkout of another user: a guard that git cannot look at would be none.
    In full, because git reads ``origin/main`` as a tag or a local branch first, and whoever may push can make a tag of that name.
    """
    try:
        return "refs/remotes/origin/main" if run(root, "remote").strip() else "refs/heads/main"
    except NotOwnError:
        raise
    except UserError:
        return None


def file_at(root: Path, ref: str, name: str) -> str | None:
    """The text of a file of the folder at a ref; None if it is not there."""
    try:
        return run(root, "show", f"{ref}:./{name}")
    except NotOwnError:
        raise
    except UserError:
        return None


def _variables() -> dict[str, str]:
    # .git/info/grafts gives commits other parents than they have. In English, because one message is looked for.
    return {**shell.variables(), "GIT_GRAFT_FILE": os.devnull, "LC_ALL": "C.UTF-8", "LANGUAGE": ""}


@process.reads("git")
def _committed(root: Path, commit: str) -> dict[str, tuple[str, str]]:
    """Path -> (mode, id of the content) of every file of a commit below the folder."""
    entries = (entry.partition("\t") for entry in run(root, "ls-tree", "-r", "-z", commit).split("\0") if entry)
    return {path: (about.split()[0], about.split()[2]) for about, _, path in entries}


def _changed(root: Path, committed: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """The paths that are not as committed, sorted; including those that no commit has."""
    here = set(_files(root))
    for path in sorted(here | set(committed)):
        if path not in here or path not in committed or not _same(root / path, *committed[path]):
            yield path


def _files(root: Path) -> Iterator[str]:
    """Every file and symlink below the folder, but what tools write."""
    for folder, subfolders, files in os.walk(root, onerror=_unreadable):
        inside = Path(folder).relative_to(root)
        # A linked environment is a symlink, which os.walk counts among the folders without going into it.
        links = [name for name in subfolders if (Path(folder) / name).is_symlink()]
        yield from ({(inside / name).as_posix() for name in (*files, *links)} - LEFT_OUT_PATHS)
        subfolders[:] = [name for name in subfolders if name not in LEFT_OUT and (inside / name).as_posix() not in LEFT_OUT_PATHS]


def _unreadable(failed: OSError) -> None:
    raise UserError(f"{failed.filename}: cannot be read ({failed.strerror}), so it cannot be compared with the commit")


def _same(path: Path, mode: str, identifier: str) -> bool:
    """Whether a file is the committed one. A submodule never is: its files are of another commit.

    Executable or not makes no difference: a Windows file system under WSL has all files so, and images take modes from contents.
    """
    try:
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            return mode == "120000" and _is(identifier, os.fsencode(path.readlink()))
        if not stat.S_ISREG(info.st_mode) or mode not in {"100644", "100755"}:
            return False
        content = path.read_bytes()
    except OSError as failed:
        raise UserError(f"{path}: cannot be read ({failed.strerror}), so it cannot be compared with the commit") from failed
    # .gitattributes gives PowerShell's scripts Windows's ends of line; git keeps them with its own.
    windows = path.suffix == ".ps1" and _is(identifier, content.replace(b"\r\n", b"\n"))
    return windows or _is(identifier, content)


def _is(identifier: str, content: bytes) -> bool:
    """Whether a content has this id in git: SHA-1, or SHA-256 in a repository that was made with it."""
    digest = hashlib.sha256 if len(identifier) == 64 else hashlib.sha1
    return digest(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == identifier
