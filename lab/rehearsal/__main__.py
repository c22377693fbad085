"""``script/rehearse``: production on one machine, from the plan to a person in a browser, and its removal.

Real: the program, Pulumi's engine, the policies, Docker, every container of the stack except the connector, Vercel's build, the
site and its middleware. Stand-ins: Cloudflare's and Vercel's APIs, Cloudflare's network with its connector, Vercel's network.
"""

import shutil
import sys
from pathlib import Path
from typing import get_args

from components.host.images import ImageSource
from lab.rehearsal import browser, servers, stack
from lab.rehearsal.servers import Servers
from lab.rehearsal.stack import NAME, Place
from lab.standins import connector
from ops.clients import process, terminal
from ops.clients.docker import Docker
from ops.clients.terminal import Steps
from ops.deploy import update
from ops.errors import UserError
from ops.images import build, needs, source
from ops.machine import daemon, engine, go, system
from ops.observe.smoke.site import Resolver
from ops.paths import cache_dir
from ops.stack.outputs import Outputs

# Needed by Vercel's command line, and for the flags of the local Vercel's threads.
OLDEST_NODE = (20, 11)


def shots() -> Path:
    """The folder for the pictures of the browser, which are kept."""
    return cache_dir() / "logs" / NAME


# --- Before anything is changed ------------------------------------------------------------------------------------------


def check_tools() -> None:
    """Raises UserError for a tool that is missing on this machine, or too old."""
    for name, package in (("node", "nodejs"), ("npm", "npm"), ("openssl", "openssl"), ("go", "")):
        if name == "go":
            go.ensure_go(lambda line: None)
        elif shutil.which(name) is None:
            raise UserError(f"rehearsal: {name} is missing; run: sudo apt-get install -y {package}")
    version = process.capture(["node", "--version"]).decode().strip().removeprefix("v")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_NODE:
        raise UserError(f"rehearsal: Node.js {version} is too old for Vercel's command line; install 20.11 or newer")


def choose_source(requested: ImageSource | None, docker: Docker) -> ImageSource:
    """The source of the images: the requested one, that of existing data, or official if the registry answers."""
    made_with = source.source_of(docker, f"{stack.PREFIX}-postgres")
    if requested is not None and made_with not in {None, requested}:
        raise UserError(f"rehearsal: its data was made with {made_with} images; run script/rehearse --destroy first")
    if requested or made_with:
        return requested or ("packages" if made_with == "packages" else "official")
    return "official" if system.answers(source.REGISTRY, accepted=(200, 401)) else "packages"


# --- Steps ---------------------------------------------------------------------------------------------------------------


def resolver(running: Servers) -> Resolver:
    """How clients reach the public names."""
    return Resolver(ca_file=Path(running.ca_file), connect_to=("127.0.0.1", running.https_port))


def remove(place: Place, docker: Docker) -> None:
    """Destroys the stack if it has a state, then removes what is left on the daemon, the servers and the folder."""
    if (place.folder / "state" / ".pulumi").exists():
        try:
            # The connector has to be connected to stop in good order, and the plugins read the world.
            servers.start(place.folder)
            place.program(docker).remove()
        except UserError as error:
            print(f"      pulumi destroy failed; what it left is removed: {error}")
    servers.stop(place.folder)
    stack.remove_from(docker)
    place.remove()


def summary(place: Place, running: Servers, outputs: Outputs, domain: str, *, seconds: float, kept: bool) -> str:
    """The last lines that script/rehearse prints."""
    head = f"""
The rehearsal is green: {seconds:.0f} s, pictures of the UI in {shots()}

  real      the program, its policies, Pulumi's engine, Docker and every container but the connector,
            vercel build, the site and its middleware
  stand-in  Cloudflare's and Vercel's APIs, Cloudflare's network and connector, Vercel's network, the certificates
"""
    if not kept:
        return f"{head}\nEverything was removed; script/rehearse --keep leaves it running for a look.\n"
    port, proxy = running.https_port, running.proxy_url
    # The server's own certificate: it does not send the authority's, which the browser would look for in vain.
    key = browser.fingerprint(Path(running.ca_file).with_name(f"{domain}.pem"))
    env = " ".join(f"{name}={value}" for name, value in place.state_variables().items())
    names = [url.removeprefix("https://") for url in (outputs.app_url, outputs.api_url, outputs.stream_url)]
    return (
        f"""{head}
  UI        {outputs.app_url}      login {outputs.ui_username}, password: the output ui_password
  API       {outputs.api_url}/api/v1  header x-api-key: the output api_key
  outputs   cd {place.folder}/project && {env} pulumi stack output --show-secrets

These names exist on this machine only. A browser finds them with
  chromium --proxy-server={proxy} --ignore-certificate-errors-spki-list={key} \\
    --user-data-dir=$(mktemp -d) {outputs.app_url}
or, without the proxy, with --host-resolver-rules="MAP *.{domain}:443 127.0.0.1:{port}"; curl with
"""
        + "".join(
            f"  curl --cacert {running.ca_file} --connect-to {name}:443:127.0.0.1:{port} https://{name}/\n" for name in names
        )
        + """
script/rehearse --keep again deploys what has changed; script/rehearse --destroy removes everything.
"""
    )


def rehearse(*, images_source: ImageSource | None, keep: bool) -> None:
    """All steps in order; UserError at the first failure. Without ``keep`` nothing is left, whatever happened."""
    settings, domain = stack.settings()
    docker = Docker(settings.host.docker_host)
    place = Place(stack.folder())
    steps = Steps(7 if keep else 8)
    with steps.step("machine") as say:
        if docker.host.startswith("ssh://"):
            raise UserError(f"{stack.COMMITTED.name}: host.docker_host: is another machine; write unix:///var/run/docker.sock")
        check_tools()
        daemon.ensure_docker(docker.host, say)
        engine.ensure_engine(None, say)
    with steps.step("images") as say:
        chosen = choose_source(images_source, docker)
        build.build(docker, chosen, say, needs.asked_for(settings), host=settings.host)
    try:
        with steps.step("stand-ins") as say:
            place.prepare(domain)
            running = servers.start(place.folder)
            connector_image = connector.ensure_image(docker, running.connector_port)
            say(f"Cloudflare and Vercel: {place.folder}")
        program = place.program(docker)
        with steps.step("pulumi up") as say:
            place.write_project(program, chosen, connector_image)
            place.up(program)
        with steps.step("second plan"):
            place.expect_no_changes(program)
        outputs = program.outputs()
        with steps.step("smoke, through the public names") as say:
            green, total = update.run_smoke(outputs, say, resolver(running))
            if green < total:
                raise UserError(f"smoke: {green} of {total} checks green; each line above that is not ok names what to look at")
        with steps.step("UI in a browser") as say:
            browser.use_ui(docker, outputs, running.proxy_url, Path(running.ca_file), shots(), say)
        last_lines = summary(place, running, outputs, domain, seconds=steps.seconds, kept=keep)
    finally:
        if not keep:
            with steps.step("remove"):
                remove(place, docker)
    print(last_lines)


def destroy() -> None:
    """Removes a rehearsal that was kept, or reports that there is none."""
    docker = Docker(stack.settings()[0].host.docker_host)
    place = Place(stack.folder())
    if not place.exists and not stack.left_on(docker):
        print("There is no rehearsal.")
        return
    engine.ensure_engine(None, lambda line: None)
    remove(place, docker)
    print("The rehearsal is removed.")


def main(arguments: list[str] | None = None) -> int:
    """Entry point of script/rehearse; 1 with one line for a UserError."""
    parser = terminal.Parser(prog="script/rehearse", description="Production on this machine, with stand-ins.")
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--keep", action="store_true", help="leave it running for a look; again, it deploys what has changed")
    end.add_argument("--destroy", action="store_true", help="remove what --keep left running")
    parser.add_argument("--images", choices=get_args(ImageSource), help="where the images come from")
    options = parser.parse_args(arguments)
    return terminal.run_main(
        "script/rehearse",
        destroy if options.destroy else lambda: rehearse(images_source=options.images, keep=options.keep),
        resume="script/rehearse --destroy removes what is left",
    )


if __name__ == "__main__":
    sys.exit(main())
