"""``ops rollback``: deploys the last commit that worked, after a deployment that does not.

Not here: which commit that is and whether the database allows it (ops/deploy/releases.py); the data of before an upgrade
(ops/deploy/upgrade.py); what is on main, which still has to be reverted there.
"""

from ops.backups import notes
from ops.clients import terminal
from ops.deploy import other_commit, releases, upgrade
from ops.errors import UserError
from ops.stack.stack import Stack


def rollback(stack: Stack, *, yes: bool, with_data: bool = False) -> None:
    """A fresh up of the last good commit from its own checkout; UserError if no rollback is possible or it fails.

    with_data: instead, the version of Skyvern before the last upgrade, with the data that it had.
    """
    docker = stack.docker()
    if with_data:
        upgrade.with_data(stack, docker, yes=yes, progress=terminal.say)
        return
    with notes.alone(stack):
        good = releases.rollback_target(stack, docker)
        question = f"stack {stack}: roll back to {good.commit[:12]}, which was green at {good.at}?"
        terminal.agree("ops rollback", question, yes=yes)
        code = other_commit.up(stack, good.commit, stack_file=good.stack_file)
        if code:
            raise UserError(f"ops rollback: script/up of {good.commit[:12]} ended with {code}; see its messages above")
