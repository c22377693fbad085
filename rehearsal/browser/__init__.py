"""A person in a browser: the UI of a running stack, used in a headless Chromium from the public names on.

Chromium and the Playwright that drives it are those of the server's image, so that nothing has to be installed. Their container
has a network of its own that leads nowhere: a socket file is the only way out, to the edge's proxy, which knows the public names
alone. (In the host's network, Chromium drops its connections whenever any other container comes or goes.)
Not here: what is clicked (ui.py, which runs in that container).
"""

import base64
import hashlib
import json
import ssl
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from ops import process
from ops.bootstrap import Progress
from ops.docker import Docker
from ops.errors import UserError
from ops.stack import Outputs
from rehearsal.browser import relay

UI_SECONDS = 600
SCRIPTS = Path(__file__).parent


def fingerprint(certificate: Path) -> str:
    """SHA-256 of a certificate's public key in base64, as Chrome's flag takes it."""
    key = process.capture(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"]).decode()
    encoded = "".join(line for line in key.splitlines() if not line.startswith("-----"))
    return base64.b64encode(hashlib.sha256(base64.b64decode(encoded)).digest()).decode()


def policy(certificate: Path) -> str:
    """Chromium's policy that trusts an authority, as a file of /etc/chromium/policies/managed."""
    encoded = base64.b64encode(ssl.PEM_cert_to_DER_cert(certificate.read_text())).decode()
    return json.dumps({"CACertificates": [encoded]})


def run(
    docker: Docker, image: str, network: str, *, proxy_url: str, ca_file: Path, script: str, task: str, pictures: Path
) -> str:
    """Runs a script of SCRIPTS in the server's image with ``task`` on its standard input; what it printed.

    network: made for it, and removed afterwards. Raises UserError with the end of what it said when it fails.
    """
    proxy = urlsplit(proxy_url)
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        # The image's user comes in here.
        there.chmod(0o755)
        (there / "authority.json").write_text(policy(ca_file))
        relay.file_to_tcp(str(there / "proxy"), proxy.hostname or "", proxy.port or 0)
        (there / "proxy").chmod(0o777)
        mounts = {
            f"{SCRIPTS}": "/rehearsal:ro",
            f"{there}": "/outside:ro",
            f"{there}/authority.json": "/etc/chromium/policies/managed/authority.json:ro",
            f"{pictures}": "/pictures",
        }
        options = ["--rm", "--interactive", f"--network={network}", "--init", "--cap-drop=ALL", "--shm-size=512m"]
        # The pages are ours, and without its namespaces Chromium runs under any profile of the host.
        options += ["--env=BROWSER_SANDBOX=false", *(f"--volume={source}:{target}" for source, target in mounts.items())]
        # With an interface besides loopback: without one, Chromium tells its pages that they are offline.
        docker.run("network", "create", "--internal", "--label=skyvern.stack=rehearsal", network)
        try:
            command = docker.command("run", *options, image, "python", f"/rehearsal/{script}")
            told = process.capture(command, env=docker.environment(), stdin=task.encode(), timeout_seconds=UI_SECONDS)
            return told.decode()
        finally:
            docker.run("network", "rm", network)


def use_ui(docker: Docker, outputs: Outputs, proxy_url: str, ca_file: Path, pictures: Path, say: Progress) -> None:
    """Uses the UI as a person does, with a line for each thing done; pictures of it land in ``pictures``.

    Raises UserError with what was not as it should be.
    """
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.png"):
        old.unlink()
    pictures.chmod(0o777)
    task = {
        "app_url": outputs.app_url,
        "own_urls": sorted({outputs.app_url, outputs.api_url, outputs.stream_url}),
        "smoke_url": outputs.smoke_url,
        "username": outputs.ui_username,
        "password": outputs.ui_password.get_secret_value(),
    }
    image = docker.inspect(outputs.containers["server"])["Config"]["Image"]
    try:
        told = run(
            docker,
            image,
            "skyvern-rehearsal-ui",
            proxy_url=proxy_url,
            ca_file=ca_file,
            script="ui.py",
            task=json.dumps(task),
            pictures=pictures,
        )
    except UserError as failed:
        raise UserError(f"UI: {failed} (pictures: {pictures})") from failed
    for line in told.splitlines():
        say(line)
