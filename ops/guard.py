"""Which commits may change a guarded stack: those on main, from a clean checkout.

A stack file says by ``deployment.only_from_main`` whether its stack is guarded; without it prod is, and no other. Both the file
here and the one on main are asked, because an edit that nobody has reviewed must not lift the guard that would refuse it.
Not here: plain ``pulumi up``, which asks by its own preview; whether the plan is the reviewed one (ops/review).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops import process
from ops.errors import UserError

GUARDED_BY_DEFAULT = "prod"
OVERRIDE = "--unreviewed"


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
    if why is None or (confirm is not None and confirm(f"stack {stack}: {why}. Deploy it all the same?")):
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
        return "git does not know this folder, so nobody can tell what it holds"
    try:
        seen = head(root)
    except UserError as failed:
        return str(failed)
    if seen.difference:
        return seen.difference
    try:
        git(root, "rev-parse", "--verify", "--quiet", f"{main}^{{commit}}")
    except UserError:
        return f"git has no {main} here to compare with (git fetch origin main)"
    # Of HEAD, the commits that main has not.
    ahead = git(root, "rev-list", "--max-count=1", "HEAD", f"^{main}").strip()
    return f"the commit {seen.commit[:12]} is not on {main}" if ahead else None


def head(root: Path) -> Head:
    """What is checked out, whatever is on main; UserError where git cannot tell."""
    try:
        commit = git(root, "rev-parse", "--verify", "HEAD^{commit}").strip()
        # With -z git quotes no name; a renamed file is followed by its old name, which begins with no status.
        changed = _paths(git(root, "status", "--porcelain", "-z", "--untracked-files=all").split("\0"))
    except UserError as failed:
        raise UserError(f"git cannot tell what is checked out ({failed})") from failed
    return Head(commit=commit, changed=changed)


def git(root: Path, *arguments: str) -> str:
    """Output of git in a checkout; UserError when it fails."""
    return process.capture(["git", "-C", root, *arguments]).decode()


def _main(root: Path) -> str | None:
    """``origin/main`` where there is a remote, else ``main``; None where git knows no such folder."""
    try:
        return "origin/main" if git(root, "remote").strip() else "main"
    except UserError:
        return None


def _on_main(root: Path, main: str, name: str) -> str | None:
    try:
        return git(root, "show", f"{main}:./{name}")
    except UserError:
        return None


def _paths(entries: Sequence[str]) -> tuple[str, ...]:
    found, renamed = [], False
    for entry in entries:
        if entry and not renamed:
            found.append(entry[3:])
        renamed = not renamed and entry[:1] in {"R", "C"}
    return tuple(found)
