"""Commands for the workflows: a preview with its record for a pull request, and the comments and the issue at GitHub.

Each command is one step of a workflow, so that nothing is decided in YAML. Not here: GitHub's API (ops/clients/github.py), the
report (ops/preview/report), the record (ops/review/record.py).
"""

import datetime
import os
from pathlib import Path
from typing import Annotated

import typer

from ops.clients import git, github
from ops.errors import UserError
from ops.preview import engine
from ops.preview.model import Drift, Preview, dump, exit_code, load
from ops.preview.report import MARKER, markdown
from ops.review import apply as reviewed
from ops.review import drift
from ops.review import record as review
from ops.stack.option import StackOption
from ops.stack.stack import Stack

app = typer.Typer(no_args_is_help=True)

PREVIEW, REPORT = "preview.json", "report.md"


def deployment_marker(stack: Stack) -> str:
    """The first line of the comment on a deployment, by which it is found."""
    return f"<!-- skyvern-deployment: {stack.short} -->"


def record_name(stack: Stack) -> str:
    """File of the record, as the report names it."""
    return f"review-{stack.short}.json"


def artifact_name(stack: Stack, tree: str) -> str:
    """Of the artifact that holds the record; preview.yml uploads it under the same name."""
    return f"review-{stack.short}-{tree}"


def write_review(stack: Stack, folder: Path, *, base: str) -> tuple[int, str]:
    """Previews a stack and writes preview.json, report.md and, if the plan may be applied, review-STACK.json.

    Returns the exit code and a line about the files: 0 for a preview that may be applied, changes or not; 1 for an error, 3 for a
    violated policy. Then only a report is written, because a record that does not exist cannot be applied.
    """
    # Before the first file is written, which would be a change.
    tree = git.tree_of(stack.root)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / record_name(stack)).unlink(missing_ok=True)
    previews = [_preview(stack, base)]
    (folder / PREVIEW).write_text(dump(previews))
    (folder / REPORT).write_text(markdown(previews, limit=None))
    try:
        recorded = review.dump(review.record(previews[0], tree=tree))
    except UserError as unfit:
        return exit_code(previews), f"{unfit} ({folder / REPORT})"
    (folder / record_name(stack)).write_text(recorded)
    return 0, f"stack {stack}: {len(previews[0].steps)} steps; {folder} has the report and the record"


def _preview(stack: Stack, base: str) -> Preview:
    try:
        return engine.preview(stack, drift=True, base=base)
    except UserError as failed:
        # A wrong stack file ends it before the engine runs; it belongs into the comment all the same.
        return Preview(stack=stack.name, made=datetime.datetime.now(datetime.UTC), base=base, failure=str(failed))


@app.command()
def comment(folder: Annotated[Path, typer.Argument(help="Folder that ops review wrote.")]) -> None:
    """Post the report as the one comment of the pull request, edited in place; without a report, post that."""
    run = github.run_of(os.environ)
    if run.pull_request is None:
        raise UserError("ops github comment: this run is not of a pull request")
    path = folder / PREVIEW
    if path.is_file():
        text = markdown(load(path.read_text(), file=str(path)), limit=github.BODY_LIMIT, link=run.url)
    else:
        text = github.no_report(MARKER, run)
    github.summarise(text)
    with github.client(run, os.environ) as http:
        done = github.Repository(run.repository, http).comment(run.pull_request, MARKER, text)
    typer.echo(f"comment on {run.repository}#{run.pull_request}: {done}")


@app.command()
def record(
    stack: StackOption,
    output: Annotated[Path, typer.Option(help="File to write it to.")] = Path("review.json"),
    outcome: Annotated[Path | None, typer.Option(help="File for the reason if there is no record, as Markdown.")] = None,
) -> None:
    """Fetch the review record of the checkout: the artifact of the preview of the same tree."""
    with reviewed.write_outcome(outcome):
        _fetch(stack, output)


def _fetch(stack: Stack, output: Path) -> None:
    run = github.run_of(os.environ)
    tree = git.tree_of(stack.root)
    with github.client(run, os.environ) as http:
        content = github.Repository(run.repository, http).artifact(artifact_name(stack, tree), record_name(stack))
    if content is None:
        raise UserError(
            f"stack {stack}: no reviewed preview of tree {tree[:12]}: main moved on after the preview, it was pushed to "
            f"directly, or the preview is too old; read the preview of script/up --stack {stack} on the host, and let it apply"
        )
    output.write_bytes(content)
    typer.echo(f"stack {stack}: the record of tree {tree[:12]} is in {output}")


@app.command()
def outcome(stack: StackOption, file: Annotated[Path, typer.Argument(help="File that ops apply --outcome wrote.")]) -> None:
    """Post the outcome of a deployment: in the summary of the run, and on the pull request that was merged."""
    run = github.run_of(os.environ)
    result = file.read_text() if file.is_file() else "❌ Nothing was deployed: the job ended before `ops apply`.\n"
    text = f"{deployment_marker(stack)}\n### Deployment of {stack}\n\n{result}\n[Log]({run.url}) of `{run.commit[:12]}`.\n"
    github.summarise(text)
    with github.client(run, os.environ) as http:
        repository = github.Repository(run.repository, http)
        number = repository.merged_pull_request(run.commit)
        done = "none" if number is None else repository.comment(number, deployment_marker(stack), text)
    typer.echo(f"comment on {run.repository}#{number}: {done}" if number else "no pull request was merged by this commit")


def keep_issue(stack: Stack, differences: Drift) -> str:
    """Updates the one issue on the drift of a stack; returns a line about it. UserError if GitHub refuses."""
    run = github.run_of(os.environ)
    with github.client(run, os.environ) as http:
        repository = github.Repository(run.repository, http)
        repository.refuse_public()
        marker = drift.marker(stack.short)
        if drift.exit_code(differences) == 0:
            done = repository.close_issue(marker, f"No drift any more: [checked]({run.url}).")
        else:
            text = drift.markdown(stack.name, differences, link=run.url)
            done = repository.issue(marker, drift.fingerprint(differences), drift.title(stack.short, differences), text)
    return f"issue in {run.repository}: {done}"
