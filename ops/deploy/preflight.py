"""Trials before ``script/up`` changes anything: does this host let the containers have what the stack file asks for.

Not here: what does not keep an update from being carried out (ops/observe/doctor).
"""

from components.host import images
from components.host.firewall import ruleset
from components.host.skyvern import PROFILE, SKYVERN_ID
from components.settings import CdpBrowser, OllamaLlm, Settings, SettingsError
from ops.clients.docker import HARDENED, Docker
from ops.clients.terminal import Progress
from ops.errors import UserError, explained
from ops.machine import docker_faults, windows
from ops.observe import isolation
from ops.observe.doctor.observation import port_free, published_ports
from ops.stack import routes
from ops.stack.stack import Stack


def check_automations(stack: Stack, settings: Settings) -> None:
    """UserError with a line for each mistake in the files of automations, which the program would find after the images."""
    if not settings.automations.files:
        return
    # Here for start time: it needs Jinja and the schema of every block.
    from components.automations import files

    try:
        files.load(stack.root, settings.automations, stack.file_name, settings.cell)
    except SettingsError as wrong:
        raise UserError(str(wrong)) from wrong


def check_addresses(stack: Stack, docker: Docker, settings: Settings) -> None:
    """Raises UserError if a network that is to be made has addresses that the host already has a route for.

    A host that is another machine can be looked at once the image of the egress proxy is there.
    """
    image = images.references(settings.images.source)["egress"]
    # Of a Swarm, its manager knows the networks of all.
    daemons = [docker, *(daemon for daemon in docker.daemons if daemon.host != docker.host)]
    for network in filter(None, (routes.observe(daemon, stack, image) for daemon in daemons)):
        _refuse_overlap(stack, settings, network)


def _refuse_overlap(stack: Stack, settings: Settings, network: routes.HostNetwork) -> None:
    missing = [subnet for subnet in routes.planned(stack, settings) if subnet not in network.own]
    if overlapped := network.overlaps(missing):
        raise UserError(
            f"nothing was changed: {stack.file_name}: host.networks: {settings.host.networks} gives the stack "
            f"{routes.stack_block(stack, settings)}, and the Docker host has a route for "
            f"{', '.join(map(network.describe, overlapped[:3]))}; write {network.proposal(stack)}"
        )


def check_ports(stack: Stack, settings: Settings) -> None:
    """On WSL, raises UserError if a program of Windows has a port that the stack will publish."""
    for key, port in published_ports(settings).items():
        # One that is not free here is the stack's own, or Docker says so.
        programs = windows.listeners(port) if port_free(port) else []
        if programs:
            raise UserError(
                f"nothing was changed: {stack.file_name}: {key}: in Windows, {programs[0]} listens on {port}, so what is for the "
                "stack would go to it; end it, or write another port"
            )


def check(docker: Docker, settings: Settings, progress: Progress) -> None:
    """Raises UserError with one line for the first thing that the host does not allow; the images have to be there."""
    if isolation.has_firewall(settings):
        try_firewall(docker, images.references(settings.images.source)["egress"])
        progress("the kernel takes the stack's firewall")
    if not isinstance(settings.browser, CdpBrowser) and settings.browser.sandbox:
        try_sandbox(docker, images.references(settings.images.source)["server"])
        progress("Chromium can make its sandbox")
    if isinstance(settings.llm, OllamaLlm) and settings.llm.gpu:
        find_gpu_runtime(docker)
        progress("Docker has an NVIDIA runtime")


def try_sandbox(docker: Docker, image: str) -> None:
    """Makes a sandbox as Chromium would, in a container like the server's."""
    options = ("--network=none", *HARDENED)
    identity = (f"--user={SKYVERN_ID}:{SKYVERN_ID}", f"--security-opt=seccomp={PROFILE}")
    with explained(lambda failed: f"nothing was changed: {failed}"):
        docker.run("run", "--rm", *options, *identity, image, "skyvern-start", "sandbox")


def try_firewall(docker: Docker, image: str) -> None:
    """Lets the kernel judge such rules, without putting them in force, in a container like the firewall's."""
    options = ("--network=host", "--user=0:0", *HARDENED, "--cap-add=NET_ADMIN")
    rules = ruleset("skyvern-try", {"app": "br-000000000000"}, {"outgoing": "br-000000000001"}, [])
    try:
        docker.run(
            *("run", "--rm", "--interactive", *options, image, "nft", "--check", "--file", "-"),
            stdin=rules.encode(),
        )
    except UserError as failed:
        if docker_faults.is_rootless(docker):
            raise UserError(
                f"nothing was changed: Docker at {docker.host} is rootless and has no say over the host's network; write "
                "host.firewall: false into the stack file (docs/security.md says what is then open), or use a daemon of root"
            ) from failed
        raise UserError(
            f"nothing was changed: this Docker host cannot have the stack's firewall: {failed}; write host.firewall: false into "
            "the stack file (docs/security.md says what is then open)"
        ) from failed


def find_gpu_runtime(docker: Docker) -> None:
    """Docker lists the runtimes for its containers; without NVIDIA's, it refuses one that asks for a GPU."""
    if "nvidia" not in docker.run("info", "--format", "{{json .Runtimes}}"):
        raise UserError(
            "nothing was changed: llm.gpu is true, and Docker has no NVIDIA runtime; install NVIDIA's container toolkit as in "
            "docs/llm.md, or write llm.gpu: false into the stack file"
        )
