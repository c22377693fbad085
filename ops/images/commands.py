"""``ops images``: build, list, digest, advisories."""

import datetime
import json
from collections.abc import Iterator
from typing import Annotated

import httpx
import typer

from components.host import images
from components.host.images import ImageSource
from ops import shell
from ops.clients import process, proxies
from ops.errors import UserError
from ops.images import advisories, build, needs
from ops.paths import ROOT
from ops.stack.option import DEV, StackOption

app = typer.Typer(no_args_is_help=True)
OLD_DAYS = 90
_REFRESH = "write today's date into images/refreshed.txt and run script/up"
_COMPARE = "bin/ops images digest asks what is newest"


@app.command("build")
def build_images(stack: StackOption = DEV) -> None:
    """Build or pull the images that are missing on the stack's daemon."""
    docker, settings = stack.docker(), stack.settings()
    build.build(docker, settings.images.source, typer.echo, needs.asked_for(settings), host=settings.host)


@app.command("list")
def list_images(stack: StackOption = DEV) -> None:
    """Print every image of a stack, whether its daemon has it, and what is older than 90 days."""
    docker, settings = stack.docker(), stack.settings()
    for image, reference in needs.running_images(settings).items():
        typer.echo(f"{image:<10} {'present' if needs.present(docker, reference) else 'missing':<8} {reference}")
    today = datetime.datetime.now(datetime.UTC).date()
    for line in aged(settings.images.source, needs.asked_for(settings), today):
        typer.echo(line)


def aged(source: ImageSource, optional: frozenset[str], today: datetime.date) -> Iterator[str]:
    """A line with the remedy for each part of a stack's images that has not been renewed for more than 90 days."""
    built = images.refreshed()
    if (days := (today - built).days) > OLD_DAYS:
        yield f"old: the Debian packages of the images built here are of {built}, {days} days ago; {_REFRESH}"
    parts = needs.parts(source, optional)
    used = {*parts, *(base for image in parts for base in images.BASES.get(image, ()))} if source == "official" else set[str]()
    for image, reference in images.OFFICIAL.items():
        if image in used and (days := (today - images.COMPARED[image]).days) > OLD_DAYS:
            tag = reference.partition("@")[0]
            yield f"old: {tag} was last compared with its registry on {images.COMPARED[image]}, {days} days ago; {_COMPARE}"


@app.command("digest")
def public_digests() -> None:
    """Ask the registry what the pinned public tags, and the moving ones beside them, point at now; print what to change."""
    changed = 0
    for image, reference in images.OFFICIAL.items():
        tag, pinned = reference.split("@")
        current = current_digest(tag)
        changed += current != pinned
        typer.echo(f"{image:<10} {tag}: " + ("unchanged" if current == pinned else f"now {tag}@{current} (pinned: {pinned})"))
        moving = images.MOVING_TAGS[image]
        # A version that has been superseded is no longer built again, so its own tag stays as it is.
        if moving != tag and (newest := current_digest(moving)) not in {current, pinned}:
            changed += 1
            typer.echo(f"{'':<10} {moving}: another version, {newest}; look its tag up before it is pinned")
    if changed:
        typer.echo("write the new digests into OFFICIAL in components/host/images.py, and today's date into COMPARED there")
    else:
        typer.echo("write today's date into COMPARED in components/host/images.py")


@app.command("advisories")
def known_advisories(
    stack: StackOption = DEV,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """Check all pins and images for known vulnerabilities. Exit 0 none, 2 some, 3 not everything could be checked, 1 error."""
    docker = stack.docker()
    known = advisories.accepted((ROOT / advisories.ACCEPTED).read_text(), datetime.datetime.now(datetime.UTC).date())
    with httpx.Client(timeout=60, transport=proxies.Transport()) as http:
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


@process.reads("docker")
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
