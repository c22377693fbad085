"""The doctor's observation of a healthy stack; a test replaces the part that it is about."""

from dataclasses import replace
from pathlib import Path

from components.settings import parse
from ops.machine.daemon import Daemon
from ops.machine.system import Machine
from ops.observe.doctor.observation import DaemonFacts, Deployed, Disk, HostFacts, Observation, Planned, PulumiFacts
from ops.stack.inventory import Container
from ops.stack.stack import Stack

SERVER = Container(
    name="skyvern-dev-server",
    part="server",
    image="localhost/skyvern/server:1",
    image_id="sha256:1",
    status="running",
    health="healthy",
    restarts=0,
    exit_code=0,
    oom_killed=False,
    started_at=None,
    memory_mib=4096,
    read_only=True,
    privileged=False,
    capabilities_dropped=True,
    no_new_privileges=True,
    system_calls_filtered=True,
    published=(),
)
GATEWAY = replace(
    SERVER,
    name="skyvern-dev-gateway",
    part="gateway",
    image="localhost/skyvern/gateway:2",
    image_id="sha256:2",
    memory_mib=256,
    published=(("127.0.0.1", 8080, "8080/tcp"),),
)
HOST = HostFacts(
    containers=(GATEWAY, SERVER),
    volumes=("skyvern-dev-postgres",),
    networks=("skyvern-dev-edge",),
    present={"localhost/skyvern/server:1": "sha256:1", "localhost/skyvern/gateway:2": "sha256:2"},
    disk=Disk(free_mib=20_000, free_inodes=1_000_000),
    free_ports={"host.port": False},
    heartbeat=200,
    llm_error=None,
    openings=(),
)
DEPLOYED = Deployed(
    containers=(
        Planned(name=GATEWAY.name, image=GATEWAY.image, memory_mib=256),
        Planned(name=SERVER.name, image=SERVER.image, memory_mib=4096),
    ),
    volumes=("skyvern-dev-postgres",),
    networks=("skyvern-dev-edge",),
    pending=(),
    salt="v1:salt",
)
PULUMI = PulumiFacts(
    cli=True, backend="file:///state", passphrase_file=Path("/p"), passphrase_problem="", export_error="", deployed=DEPLOYED
)
DAEMON = DaemonFacts(
    version="28.2.2", cgroup_version="2", storage_driver="overlay2", cpus=4, memory_mib=8192, skew_seconds=0.1, unsupported=()
)
HEALTHY = Observation(
    stack=Stack("dev"),
    docker_host="unix:///var/run/docker.sock",
    settings=parse({}, file="Pulumi.dev.yaml"),
    mistakes=(),
    salt="v1:salt",
    named={"server": "localhost/skyvern/server:1", "gateway": "localhost/skyvern/gateway:2"},
    machine=Machine(root=True, debian=True, wsl=0, systemd=True),
    clock_synchronized=True,
    namespace_limit="",
    daemon=Daemon.ANSWERS,
    socket_exists=True,
    daemon_facts=DAEMON,
    host=HOST,
    pulumi=PULUMI,
)
