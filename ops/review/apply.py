"""``ops apply``: previews again, and applies only what is equal to the reviewed record.

The images are built before that preview, so that between the comparison and the up there are seconds, not minutes. Not here: the
record (ops/review/record.py), and the first deployment of a stack, which script/up makes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.backups import external, notes
from ops.clients import git
from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.deploy import danger, database_upgrade, guard, machines, preflight, recovery, releases, repair, update, upgrade
from ops.errors import UserError
from ops.images import build, needs
from ops.preview import engine
from ops.preview.report import code
from ops.review import record
from ops.review.record import Record
from ops.stack.stack import Stack


def apply(path: Path, *, unreviewed: bool, outcome: Path | None, progress: Progress) -> None:
    """Applies the plan recorded in ``path``; UserError in one line if anything differs, or if the up or the smoke fails.

    outcome: file for the result or the error, as Markdown.
    """
    with write_outcome(outcome) as write:
        write(_apply(record.load(path), unreviewed=unreviewed, progress=progress))


@contextmanager
def write_outcome(outcome: Path | None) -> Iterator[Callable[[str], None]]:
    """Writes the block's result or its error to a file; does nothing without a file, or for a block without a result.

    Yields the function that takes the result.
    """
    result = ""

    def write(text: str) -> None:
        nonlocal result
        result = text

    try:
        yield write
    except UserError as failed:
        # It may quote the record, which is a branch's, and is posted under a bot's name.
        result = f"❌ {code(str(failed))}"
        raise
    except BaseException:
        # It is unknown how far it got, and that has to be reported.
        result = "❌ The deployment was interrupted; see its log."
        raise
    finally:
        if outcome is not None and result:
            outcome.write_text(f"{result}\n")


def _apply(reviewed: Record, *, unreviewed: bool, progress: Progress) -> str:
    stack = Stack(reviewed.stack)
    guard.check(stack, unreviewed=unreviewed)
    settings = stack.settings()
    docker = stack.docker()
    tree = git.tree_of(stack.root)
    if tree == reviewed.tree:
        # Not for a tree that will be refused: the build may take half an hour.
        build.build(docker, settings.images.source, progress, needs.asked_for(settings), host=settings.host)
    with notes.alone(stack):
        return _update(stack, docker, reviewed, tree, progress)


def _update(stack: Stack, docker: Docker, reviewed: Record, tree: str, progress: Progress) -> str:
    """The steps that change the stack, with its images built."""
    settings = stack.settings()
    recovery.refuse_other_engine(stack, docker, stack.state())
    database_upgrade.finish(stack, docker, settings, progress)
    upgrade.finish(stack, docker, progress)
    planned = engine.preview(stack, drift=True)
    if differences := record.differences(reviewed, record.record(planned, tree=tree)):
        raise UserError(
            f"ops apply: nothing was changed, because this is not what was reviewed: {'; '.join(differences)}. Preview and "
            f"review it again, or run script/up --stack {stack} and read its preview"
        )
    progress(f"stack {stack}: as reviewed: {len(planned.steps)} steps, tree {tree[:12]}")
    recorded = repair.parse(stack.state())
    danger.refuse_other_place(stack, docker, settings, recorded)
    change = upgrade.plan(stack, docker, settings)
    if planned.steps:
        preflight.check_addresses(stack, docker, settings)
        preflight.check(docker, settings, progress)
        machines.check(stack, docker, settings, progress)
        machines.make_shared_folder(stack, docker, settings, progress)
        external.check(external.server(stack, docker, settings), progress)
        if change is None:
            danger.take_set(stack, docker, settings, recorded, progress)
        else:
            danger.refuse(stack, docker, settings, recorded)
    if change is not None:
        progress(str(change))
        upgrade.prepare(change, stack, docker, progress, ask=False)
    with upgrade.switched(change, stack, docker, progress):
        if planned.steps:
            update.pulumi_up(stack, unasked=True, previewed=True)
            repair.wait_until_healthy(stack, docker, progress)
        green, total = update.run_smoke(stack.outputs(), progress)
        if green < total:
            stays = f", and the stack is left as it is; {releases.rollback_hint(stack, docker)}" if change is None else ""
            raise UserError(f"ops apply: applied, but {green} of {total} smoke checks are green{stays}")
    releases.record_good(stack, docker)
    upgrade.finished(stack)
    database_upgrade.finished(stack)
    done = f"applied {len(planned.steps)} steps" if planned.steps else "nothing to apply"
    return f"✅ stack {stack}: {done} at {planned.head[:12]}; {green} of {total} smoke checks are green."
