"""``ops images``: build, list, digest, advisories."""

import datetime
import json
from typing import Annotated

import httpx
import typer

from components.host import images
from ops import shell
from ops.clients import process
from ops.errors import UserError
from ops.images import advisories, build, needs
from ops.paths import ROOT
from ops.stack.option import DEV, StackOption

app = typer.Typer(no_args_is_help=True)


@app.command("build")
def build_images(stack: StackOption = DEV) -> None:
    """Build or pull the images that are missing on the stack's daemon."""
    docker, settings = stack.docker(), stack.settings()
    build.build(docker, settings.images.source, typer.echo, needs.asked_for(settings))


@app.command("list")
def list_images(stack: StackOption = DEV) -> None:
    """Print every image of a stack, and whether its daemon has it."""
    docker = stack.docker()
    for image, reference in needs.running_images(stack.settings()).items():
        typer.echo(f"{image:<10} {'present' if needs.present(docker, reference) else 'missing':<8} {reference}")


@app.command("digest")
def public_digests() -> None:
    """Ask the registry what the pinned public tags point at now; print the lines to change in components/host/images.py."""
    changed = 0
    for image, reference in images.OFFICIAL.items():
        tag, pinned = reference.split("@")
        current = current_digest(tag)
        changed += current != pinned
        typer.echo(f"{image:<10} {tag}: " + ("unchanged" if current == pinned else f"now {tag}@{current} (pinned: {pinned})"))
    if changed:
        typer.echo("write the new digests into OFFICIAL in components/host/images.py; images built on them then get new tags")


@app.command("advisories")
def known_advisories(
    stack: StackOption = DEV,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """Check all pins and images for known vulnerabilities. Exit 0 none, 2 some, 3 not everything could be checked, 1 error."""
    docker = stack.docker()
    known = advisories.accepted((ROOT / advisories.ACCEPTED).read_text(), datetime.datetime.now(datetime.UTC).date())
    with httpx.Client(timeout=60) as http:
        report = advisories.look(
            docker,
            needs.running_images(stack.settings()),
            http,
            wanted=advisories.pins(),
            present=lambda reference: needs.present(docker, reference),
            known=known,
        )
    typer.echo(advisories.as_json(report) if as_json else "\n".join(advisories.lines(report)))
    raise typer.Exit(report.exit_code)


def current_digest(tag: str) -> str:
    """Digest of a public tag for all platforms, ``sha256:...``; UserError when the registry does not answer."""
    # buildx, because it prints the digest of the index. `manifest inspect` gives digests of single platforms only, from which
    # that of the index does not follow.
    if not build.has_buildx(["docker"], shell.variables()):
        raise UserError(
            "images: digest needs docker's buildx plugin; install docker-buildx-plugin or, from Debian, docker-buildx"
        )
    text = process.capture(
        ["docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", tag], timeout_seconds=60
    )
    digest = json.loads(text).get("digest", "")
    if not str(digest).startswith("sha256:"):
        raise UserError(f"images: docker buildx imagetools inspect {tag} named no digest; update the buildx plugin")
    return str(digest)
