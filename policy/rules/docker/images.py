"""Images: by digest, and from whom."""

import re

from ..containers import REMOTE_IMAGE, in_spec, program_rule
from ..framework.rule import Finding, Findings, Parameters, Resource, matches, rule

_IMAGES = "https://docs.docker.com/dhi/core-concepts/digests/"

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_BY_DIGEST = {"by_hash": ["localhost/skyvern/*:"]}


@program_rule(
    "docker-container-image-pinned",
    "image",
    description="An image is named by digest, or is one of ours by the hash of its context",
    severity="high",
    remediation="Write NAME:TAG@sha256:DIGEST; `docker buildx imagetools inspect NAME:TAG` prints the digest.",
    url=_IMAGES,
    cis=("4.2", "5.28"),
    parameters=_BY_DIGEST,
)
def container_image_pinned(container: Resource, parameters: Parameters) -> Findings:
    for path, image in in_spec("image")(container):
        yield from _pinned(path, image or "", parameters)


@rule(
    REMOTE_IMAGE,
    "docker-image-pinned",
    "name",
    description="An image that is pulled is named by digest",
    severity="high",
    remediation="Write NAME:TAG@sha256:DIGEST; `docker buildx imagetools inspect NAME:TAG` prints the digest.",
    url=_IMAGES,
    cis=("4.2", "5.28"),
    parameters=_BY_DIGEST,
)
def remote_image_pinned(image: Resource, parameters: Parameters) -> Findings:
    yield from _pinned("name", image.inputs.get("name", ""), parameters)


def _pinned(path: str, image: str, parameters: Parameters) -> Findings:
    # An image's own id identifies it as well as a digest does.
    if _DIGEST.search(image) or re.fullmatch(r"sha256:[0-9a-f]{64}", image):
        return
    name, _, tag = image.rpartition(":")
    if re.fullmatch("[0-9a-f]{12}", tag) and matches(f"{name}:", parameters["by_hash"]):
        return
    yield Finding(path=path, why="a tag can be another image tomorrow", write="NAME:TAG@sha256:DIGEST")


@program_rule(
    "docker-container-image-trusted",
    "image",
    description="An image comes from a registry and owner that levels.yaml trusts",
    severity="medium",
    remediation="Use an image of a trusted owner, or name its owner in levels.yaml.",
    url="https://docs.docker.com/docker-hub/repos/manage/trusted-content/",
    cis=("4.2",),
    parameters={"trusted": ["docker.io/library/*"]},
)
def image_trusted(container: Resource, parameters: Parameters) -> Findings:
    ((path, named),) = in_spec("image")(container)
    image = str(named or "")
    if image.startswith("sha256:"):
        return  # an image that is already there was judged when it was built or pulled
    first, slash, _ = image.partition("/")
    if not slash:
        image = f"docker.io/library/{image}"
    elif not re.search(r"[.:]|^localhost$", first):
        image = f"docker.io/{image}"
    if not matches(image, parameters["trusted"]):
        yield Finding(path=path, why="its owner is not among the trusted ones", write="an image of a trusted owner")
