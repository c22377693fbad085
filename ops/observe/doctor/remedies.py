"""Commands that fix more than one finding, as a person types them."""

from ops.machine.daemon import DEFAULT_SOCKET
from ops.observe.doctor.observation import Observation


def docker_command(observation: Observation) -> str:
    """``docker`` for the stack's daemon."""
    return "docker" if observation.docker_host == DEFAULT_SOCKET else f"docker --host {observation.docker_host}"


def restart(observation: Observation, part: str) -> str:
    """Restarts the container of a part."""
    return restart_container(observation, observation.stack.prefix(part))


def restart_container(observation: Observation, name: str) -> str:
    """The same by its name. A Swarm makes new tasks of a service, one after the other."""
    if on_swarm(observation):
        return f"{docker_command(observation)} service update --force {name}"
    return f"{docker_command(observation)} restart {name}"


def on_swarm(observation: Observation) -> bool:
    """Whether what runs are services of a Swarm."""
    return observation.settings is not None and observation.settings.host.engine == "swarm"


def refresh(observation: Observation) -> str:
    """Only a refresh makes the engine notice what was removed by hand."""
    return f"pulumi up --refresh -s {observation.stack}"


def write(observation: Observation, setting: str) -> str:
    """Changes the stack file, then the stack. setting: such as ``edge.protocol: http2``."""
    return f"write {setting} into {observation.stack.file_name}, then pulumi up -s {observation.stack}"
