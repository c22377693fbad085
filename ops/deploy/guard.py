"""Which commits may change a guarded stack: those on main, from a clean checkout.

A stack file says by ``deployment.only_from_main`` whether its stack is guarded (``Stack.guarded``).
Not here: plain ``pulumi up``, which asks by its own preview; whether the plan is the reviewed one (ops/review); the Python
environment in .venv, which is installed by hash and not compared again.
"""

from collections.abc import Callable
from pathlib import Path

from ops.clients import git
from ops.errors import UserError
from ops.stack.stack import Stack

OVERRIDE = "--unreviewed"


def check(stack: Stack, *, unreviewed: bool, confirm: Callable[[str], bool] | None = None) -> None:
    """UserError if a guarded stack would get what is not on main.

    unreviewed: the person overrides the guard. confirm: asks the person at the terminal; None without a terminal.
    """
    if unreviewed or not stack.guarded:
        return
    why = refusal(stack.root)
    if why is None or (confirm is not None and confirm(f"stack {stack}: {why}. Deploy it anyway?")):
        return
    raise UserError(f"stack {stack}: {why}, and nothing was changed; merge it first, or add {OVERRIDE} (docs/pull-requests.md)")


def refusal(root: Path) -> str | None:
    """Why a checkout may not change a guarded stack, or None."""
    main = git.main_ref(root)
    if main is None:
        return "this folder is not a git checkout, so its contents cannot be verified"
    try:
        head = git.head(root)
    except UserError as failed:
        return str(failed)
    if head.difference:
        return head.difference
    short = main.removeprefix("refs/heads/").removeprefix("refs/remotes/")
    try:
        git.run(root, "rev-parse", "--verify", "--quiet", f"{main}^{{commit}}")
    except UserError:
        return f"git has no {short} here to compare with (git fetch origin main)"
    # Of HEAD, the commits that main has not.
    ahead = git.run(root, "rev-list", "--max-count=1", "HEAD", f"^{main}").strip()
    return f"the commit {head.commit[:12]} is not on {short}" if ahead else None
