"""Which commits may change a guarded stack: those on main, from a clean checkout.

Clean by content: each file is hashed and compared with the commit's tree. git's index, filters, exclusions and replaced objects
are not asked, because each can be set so that a changed file reads as the committed one (skip-worktree is the usual way to keep
a stack file of one's own). What tools write (LEFT_OUT) is passed over: nothing is built of it, and Python reads compiled modules
from the user's cache folder (PYTHONPYCACHEPREFIX), not from a checkout.

A stack file says by ``deployment.only_from_main`` whether its stack is guarded; without it prod is, and no other. Both the file
here and the one on main are asked, because an edit that nobody has reviewed must not lift the guard that would refuse it.
Not here: plain ``pulumi up``, which asks by its own preview; whether the plan is the reviewed one (ops/review); the Python
environment in .venv, which is installed by hash and not looked at again.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.clients import process
from ops.errors import UserError

GUARDED_BY_DEFAULT = "prod"
OVERRIDE = "--unreviewed"

# What tools write, as .gitignore has it. At any depth only what no image's context and no import takes: the rest is left out just
# where it belongs, or a folder of that name would hide files that are built or uploaded.
LEFT_OUT = frozenset({"__pycache__"})
LEFT_OUT_PATHS = frozenset(
    {
        *(".git", ".venv", ".test", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "node_modules", "review"),
        *("site/.vercel", "site/dist", "site/node_modules"),
    }
)

# Variables that say who commits and how to reach a remote; any other GIT_* would show another repository or another index.
_KEPT_VARIABLES = (
    *("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_SSH", "GIT_SSL_CA", "GIT_ASKPASS", "GIT_TERMINAL_PROMPT"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
)


@dataclass(frozen=True, kw_only=True)
class Head:
    """What is checked out. commit: 40 hex digits. changed: paths that differ from it, untracked ones among them."""

    commit: str
    changed: tuple[str, ...]

    @property
    def difference(self) -> str:
        """That the checkout is not its commit, and where, as a clause; "" where it is."""
        more = f" and {len(self.changed) - 3} more" if len(self.changed) > 3 else ""
        return f"the checkout differs from its commit ({', '.join(self.changed[:3])}{more})" if self.changed else ""


def check(stack: str, root: Path, *, unreviewed: bool, confirm: Callable[[str], bool] | None = None) -> None:
    """UserError where a guarded stack would get what is not on main.

    unreviewed: the person overrides the guard. confirm: asks the person at the terminal; None where there is none.
    """
    if unreviewed:
        return
    if not guards(stack, root):
        return
    why = refusal(root, _main(root))
    if why is None or (confirm is not None and confirm(f"stack {stack}: {why}. Deploy it anyway?")):
        return
    raise UserError(f"stack {stack}: {why}, and nothing was changed; merge it first, or add {OVERRIDE} (docs/pull-requests.md)")


def guards(stack: str, root: Path) -> bool:
    """Whether the stack is guarded, by its file here or by the one on main."""
    file = root / f"Pulumi.{stack}.yaml"
    if is_guarded(stack, file.read_text() if file.is_file() else None):
        return True
    main = _main(root)
    return main is not None and is_guarded(stack, _on_main(root, main, file.name))


def is_guarded(stack: str, text: str | None) -> bool:
    """What a stack file says; one that cannot be read says yes, and without one the name decides."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document: Any = YAML(typ="safe").load(text or "") or {}
        said = ((document.get("config") or {}).get("skyvern:deployment") or {}).get("only_from_main")
    except (YAMLError, AttributeError):
        return True
    return stack.rsplit("/", 1)[-1] == GUARDED_BY_DEFAULT if said is None else said is not False


def refusal(root: Path, main: str | None) -> str | None:
    """Why a checkout may not change a guarded stack, or None. main: the ref that counts; None where git knows no such folder."""
    if main is None:
        return "this folder is not a git checkout, so its contents cannot be verified"
    try:
        seen = head(root)
    except UserError as failed:
        return str(failed)
    if seen.difference:
        return seen.difference
    try:
        git(root, "rev-parse", "--verify", "--quiet", f"{main}^{{commit}}")
    except UserError:
        return f"git has no {_short(main)} here to compare with (git fetch origin main)"
    # Of HEAD, the commits that main has not.
    ahead = git(root, "rev-list", "--max-count=1", "HEAD", f"^{main}").strip()
    return f"the commit {seen.commit[:12]} is not on {_short(main)}" if ahead else None


def _short(ref: str) -> str:
    """A full ref as people write it, ``origin/main``."""
    return ref.removeprefix("refs/heads/").removeprefix("refs/remotes/")


def head(root: Path) -> Head:
    """What is checked out, whatever is on main; UserError where git cannot tell."""
    try:
        commit = git(root, "rev-parse", "--verify", "HEAD^{commit}").strip()
        committed = _committed(root, commit)
    except UserError as failed:
        raise UserError(f"git cannot determine what is checked out ({failed})") from failed
    return Head(commit=commit, changed=tuple(_changed(root, committed)))


def git(root: Path, *arguments: str) -> str:
    """Output of git in a checkout, whatever the shell's variables say; UserError when it fails."""
    return process.capture(["git", "--no-replace-objects", "-C", root, *arguments], env=_variables(os.environ)).decode()


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if not name.startswith("GIT_") or name.startswith(_KEPT_VARIABLES)}
    # .git/info/grafts gives commits other parents than they have.
    return {**kept, "GIT_GRAFT_FILE": os.devnull}


def _main(root: Path) -> str | None:
    """The full ref of main, the remote's where there is one; None where git knows no such folder.

    In full, because git reads ``origin/main`` as a tag or a local branch first, and whoever may push can make a tag of that name.
    """
    try:
        return "refs/remotes/origin/main" if git(root, "remote").strip() else "refs/heads/main"
    except UserError:
        return None


def _on_main(root: Path, main: str, name: str) -> str | None:
    try:
        return git(root, "show", f"{main}:./{name}")
    except UserError:
        return None


def _committed(root: Path, commit: str) -> dict[str, tuple[str, str]]:
    """Path -> (mode, id of the content) of every file of a commit below the folder."""
    entries = (entry.partition("\t") for entry in git(root, "ls-tree", "-r", "-z", commit).split("\0") if entry)
    return {path: (about.split()[0], about.split()[2]) for about, _, path in entries}


def _changed(root: Path, committed: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """The paths that are not as committed, sorted; those that no commit has among them."""
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
