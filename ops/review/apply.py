"""``ops apply``: previews again, and applies only what is equal to the reviewed record.

The images are built before that preview, so that between the comparison and the up there are seconds, not minutes. Not here: the
record (ops/review/record.py), and the first deployment of a stack, which script/up makes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ops import bootstrap
from ops.bootstrap import Progress
from ops.clients.docker import Docker
from ops.deploy import guard, preflight, repair, rollback
from ops.deploy import up as deploy
from ops.errors import UserError
from ops.images import build as images
from ops.preview.model import Preview
from ops.preview.report import code
from ops.review import record as review
from ops.stack import outputs as stacks

Previewing = Callable[[str], Preview]


def apply(
    path: Path, *, unreviewed: bool, outcome: Path | None, progress: Progress, previewing: Previewing | None = None
) -> None:
    """Applies what ``path`` has the record of; UserError in one line where something moved, or where the up or the smoke fails.

    outcome: gets what came of it as Markdown, whatever that is. previewing: makes the preview to compare with, for tests.
    """
    with told_in(outcome) as tell:
        tell(_apply(review.load(path), unreviewed=unreviewed, progress=progress, previewing=previewing or _preview))


@contextmanager
def told_in(outcome: Path | None) -> Iterator[Callable[[str], None]]:
    """What came of the block in a file: the text that it gives, or why it failed. No file, where it gives no text."""
    told = ""

    def tell(text: str) -> None:
        nonlocal told
        told = text

    try:
        yield tell
    except UserError as failed:
        # It may name what the record says, which is a branch's, and is posted under a bot's name.
        told = f"❌ {code(str(failed))}"
        raise
    except BaseException:
        # Then nobody knows how far it got, and that is what has to be told.
        told = "❌ The deployment was interrupted; see its log."
        raise
    finally:
        if outcome is not None and told:
            outcome.write_text(f"{told}\n")


def _preview(stack: str) -> Preview:
    from ops.preview.engine import preview

    return preview(stack, drift=True)


def _apply(reviewed: review.Record, *, unreviewed: bool, progress: Progress, previewing: Previewing) -> str:
    stack = reviewed.stack
    root = bootstrap.stack_file(stack).parent
    guard.check(stack, root, unreviewed=unreviewed)
    settings = bootstrap.stack_settings(stack)
    docker = Docker(settings.host.docker_host)
    tree = review.tree_of(root)
    if tree == reviewed.tree:
        # Not those of a tree that will be refused: that may take half an hour.
        images.build(docker, settings.images.source, progress, images.asked_for(settings))
    found = previewing(stack)
    if differ := review.moved(reviewed, review.record(found, tree=tree)):
        raise UserError(
            f"ops apply: nothing was changed, because this is not what was reviewed: {'; '.join(differ)}. Preview and review it "
            f"again, or run script/up --stack {stack} and read its preview"
        )
    progress(f"stack {stack}: as reviewed: {len(found.steps)} steps, tree {tree[:12]}")
    if found.steps:
        preflight.check(docker, settings, progress)
        deploy.pulumi_up(stack, unasked=True, previewed=True)
        repair.wait_until_healthy(stack, docker, progress)
    green, total = deploy.run_smoke(stacks.outputs(stack), progress)
    if green < total:
        raise UserError(
            f"ops apply: applied, but {green} of {total} smoke checks are green, and the stack is left as it is; "
            f"{rollback.way_back(stack, docker, root)}"
        )
    rollback.note(stack, docker, root)
    done = f"applied {len(found.steps)} steps" if found.steps else "nothing to apply"
    return f"✅ stack {stack}: {done} at {found.head[:12]}; {green} of {total} smoke checks are green."
