"""Commands that fix more than one finding, as a person types them."""

from ops.machine.daemon import DEFAULT_SOCKET
from ops.observe.doctor.observation import Observation


def docker_command(observation: Observation) -> str:
    """``docker`` for the stack's daemon."""
    return "docker" if observation.docker_host == DEFAULT_SOCKET else f"docker --host {observation.docker_host}"


def restart(observation: Observation, part: str) -> str:
    """Restarts the container of a part."""
    return f"{docker_command(observation)} restart {observation.stack.prefix(part)}"


def refresh(observation: Observation) -> str:
    """Only a refresh makes the engine notice what was removed by hand."""
    return f"pulumi up --refresh -s {observation.stack}"


def write(observation: Observation, setting: str) -> str:
    """Changes the stack file, then the stack. setting: such as ``edge.protocol: http2``."""
    return f"write {setting} into {observation.stack.file_name}, then pulumi up -s {observation.stack}"
