"""Volumes, which hold the data."""

from ..containers import VOLUME
from ..framework.rule import Finding, Findings, Parameters, Resource, matches, rule


@rule(
    VOLUME,
    "docker-volume-protected",
    "options.protect",
    description="A volume is protected, unless levels.yaml says that its content can be re-created",
    severity="high",
    remediation="Set protect=True in the volume's ResourceOptions, or name the volume in levels.yaml.",
    url="https://www.pulumi.com/docs/iac/concepts/resources/options/protect/",
    parameters={"disposable": []},
)
def volume_protected(volume: Resource, parameters: Parameters) -> Findings:
    if not volume.protect and not matches(volume.name, parameters["disposable"]):
        yield Finding(path="options.protect", why="a destroy or a replacement would delete the data", write="protect=True")
