"""Commands that fix more than one finding, as a person types them."""

from ops.machine.daemon import DEFAULT_SOCKET
from ops.observe.doctor.observation import Observation


def docker_command(observation: Observation) -> str:
    """``docker`` for the stack's daemon; for the manager of its Swarm that answered, where the first machine may be down."""
    manager = observation.cluster.manager if observation.cluster and on_swarm(observation) else None
    return docker_at(manager.host if manager else observation.docker_host)


def docker_at(host: str) -> str:
    """``docker`` for a daemon."""
    return "docker" if host == DEFAULT_SOCKET else f"docker --host {host}"


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
