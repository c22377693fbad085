"""Where a stack's images come from: public registries (official), or packages (built here from Debian, PyPI and Go).

Not here: building them (ops/images/build.py).
"""

from components.host.images import SOURCE_LABEL, ImageSource
from ops.clients import process
from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.images import needs
from ops.machine import system
from ops.stack import file
from ops.stack.stack import Stack

# The one registry that holds every public image of the stack; without a login it answers 401.
REGISTRY = "https://registry-1.docker.io/v2/"


def decide_source(
    requested: ImageSource | None, configured: ImageSource, *, reachable: bool, made_with: str | None
) -> ImageSource:
    """Where the images come from. reachable: whether the image registry answers, or is not needed (only for ``official``).

    made_with: the source that the stack's data was made with, None for a new stack. Without a registry a new stack is built from
    packages; UserError if the data or the person says official.
    """
    source = requested or configured
    if source == "packages" or reachable:
        return source
    if requested is None and made_with is None:
        return "packages"
    reason = "--images official was asked for" if requested else "the data of this stack was made with official images"
    raise UserError(f"images: no image registry answers ({REGISTRY}), and {reason}; check the network and run this again")


def choose_source(stack: Stack, requested: ImageSource | None, docker: Docker, progress: Progress) -> ImageSource:
    """The source of the images, written into the stack file when it changes.

    Raises UserError when the stack already has data that was made with the other source.
    """
    settings = stack.settings()
    configured: ImageSource = settings.images.source
    wanted = requested or configured
    volume = stack.prefix("postgres")
    made_with = source_of(docker, volume)
    if made_with not in {None, wanted}:
        raise UserError(
            f"{stack.file_name}: images.source: the volume {volume} was made with {made_with} images; "
            f"write {made_with}, or destroy the stack with its data first"
        )
    optional = needs.asked_for(settings)
    # A stack whose images are there goes on without Docker Hub.
    pulled = wanted == "official" and needs.from_registry(docker, wanted, needs.outstanding(docker, wanted, optional))
    reachable = not pulled or system.answers(REGISTRY, accepted=(200, 401))
    decided = decide_source(requested, configured, reachable=reachable, made_with=made_with)
    if decided != wanted:
        progress("no image registry answers: every image is built from Debian, PyPI and Go packages, about 15 min the first time")
    if decided != configured:
        file.write_settings(stack.file, {"images": {"source": decided}})
        progress(f"wrote images.source: {decided} into {stack.file_name}")
    return decided


@process.reads("docker")
def source_of(docker: Docker, volume: str) -> str | None:
    """The source of the images that made a volume of PostgreSQL; None if there is no such volume."""
    # Listed, not inspected: a failed inspect looks like a daemon that does not answer.
    form = f'{{{{.Name}}}}={{{{.Label "{SOURCE_LABEL}"}}}}'
    listed = docker.run("volume", "ls", "--filter", f"name={volume}", "--format", form).split()
    return dict(line.split("=", 1) for line in listed).get(volume)
