"""A person in a browser: the UI of a running stack, used in a headless Chromium through the public names.

Chromium and the Playwright that drives it are those of the server's image, so that nothing has to be installed. Their container
has a separate network without internet: its only exit is a socket file, to the edge's proxy, which knows only the public names.
(In the host's network, Chromium drops its connections whenever any other container starts or stops.)
Not here: the clicks (ui.py, which runs in that container).
"""

import base64
import hashlib
import json
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab.rehearsal.browser import relay
from ops.clients import process
from ops.clients.docker import Docker
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.stack.outputs import Outputs

UI_SECONDS = 600
SCRIPTS = Path(__file__).parent
NETWORK = "skyvern-rehearsal-ui"
# Adds an artifact beside the step's recording, named as Skyvern does, and returns its path.
PLANT = """
INSERT INTO artifacts (artifact_id, organization_id, task_id, step_id, artifact_type, uri, created_at, modified_at,
    workflow_run_id, run_id)
SELECT artifact_id || '_' || :'ending', organization_id, task_id, step_id, :'kind',
    regexp_replace(uri, '[^/]*$', :'kind' || '.' || :'ending'), created_at, modified_at, workflow_run_id, run_id
FROM artifacts WHERE workflow_run_id = :'run' AND artifact_type = 'recording' LIMIT 1
RETURNING regexp_replace(uri, '^file://', '');
"""


def fingerprint(certificate: Path) -> str:
    """SHA-256 of a certificate's public key in base64, as Chrome's flag takes it."""
    key = process.capture(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"]).decode()
    encoded = "".join(line for line in key.splitlines() if not line.startswith("-----"))
    return base64.b64encode(hashlib.sha256(base64.b64decode(encoded)).digest()).decode()


def policy(certificate: Path) -> str:
    """Chromium's policy that trusts an authority, as a file of /etc/chromium/policies/managed."""
    encoded = base64.b64encode(ssl.PEM_cert_to_DER_cert(certificate.read_text())).decode()
    return json.dumps({"CACertificates": [encoded]})


def run(docker: Docker, image: str, *, proxy_url: str, ca_file: Path, task: str, pictures: Path) -> str:
    """Runs ui.py in the server's image with ``task`` on its standard input; returns its output.

    Its network is made for it, and removed afterwards. Raises UserError with the end of the output if it fails.
    """
    proxy = urlsplit(proxy_url)
    # Only this user can enter it; Docker, which is root, mounts what is inside.
    with tempfile.TemporaryDirectory() as folder:
        outside = Path(folder) / "outside"
        outside.mkdir()
        # For the image's user.
        outside.chmod(0o755)
        (outside / "authority.json").write_text(policy(ca_file))
        relay.file_to_tcp(str(outside / "proxy"), proxy.hostname or "", proxy.port or 0)
        (outside / "proxy").chmod(0o777)
        mounts = {
            f"{SCRIPTS}": "/rehearsal:ro",
            f"{outside}": "/outside:ro",
            f"{outside}/authority.json": "/etc/chromium/policies/managed/authority.json:ro",
            f"{pictures}": "/pictures",
        }
        options = ["--rm", "--interactive", f"--network={NETWORK}", "--init", "--cap-drop=ALL", "--shm-size=512m"]
        # The pages are ours, and without its namespaces Chromium runs under any profile of the host.
        # The image keeps a script's folder from what Python imports from (PYTHONSAFEPATH).
        options += [
            "--env=BROWSER_SANDBOX=false",
            "--env=PYTHONPATH=/rehearsal",
            *(f"--volume={source}:{target}" for source, target in mounts.items()),
        ]
        # With an interface besides loopback: without it, Chromium reports to its pages that they are offline.
        docker.run("network", "create", "--internal", "--label=skyvern.stack=rehearsal", NETWORK)
        try:
            command = docker.command("run", *options, image, "python", "/rehearsal/ui.py")
            output = process.capture(command, env=docker.environment(), stdin=task.encode(), timeout_seconds=UI_SECONDS)
            return output.decode()
        finally:
            docker.run("network", "rm", NETWORK)


@contextmanager
def open_to_the_container(pictures: Path) -> Iterator[Path]:
    """A folder that the image's user can write to and no other user can enter; its pictures are copied to ``pictures``."""
    pictures.mkdir(parents=True, exist_ok=True)
    pictures.chmod(0o700)
    for old in pictures.glob("*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        taken = Path(folder) / "pictures"
        taken.mkdir()
        taken.chmod(0o777)
        try:
            yield taken
        finally:
            for picture in sorted(taken.glob("*.png")):
                shutil.copyfile(picture, pictures / picture.name)
                (pictures / picture.name).chmod(0o600)


def use_ui(docker: Docker, outputs: Outputs, proxy_url: str, ca_file: Path, pictures: Path, say: Progress) -> None:
    """Uses the UI as a person does, with a line for each action; its pictures are in ``pictures``, readable for this user only.

    Raises UserError with the first thing that is wrong.
    """
    task: dict[str, Any] = {
        "app_url": outputs.app_url,
        "own_urls": sorted({outputs.app_url, outputs.api_url, outputs.stream_url}),
        "smoke_url": outputs.smoke_url,
        "username": outputs.ui_username,
        "password": outputs.ui_password.get_secret_value(),
    }
    image = docker.inspect(outputs.containers["server"])["Config"]["Image"]
    run_id = ""
    with open_to_the_container(pictures) as taken:
        for _ in range(2):
            try:
                output = run(docker, image, proxy_url=proxy_url, ca_file=ca_file, task=json.dumps(task), pictures=taken)
            except UserError as failed:
                raise UserError(f"UI: {failed} (pictures: {pictures})") from failed
            for line in output.splitlines():
                if line.startswith("run "):
                    run_id = line.split()[1]
                else:
                    say(line)
            task |= {"run": run_id, "panels": plant(docker, outputs, run_id)} if "run" not in task else {}


def plant(docker: Docker, outputs: Outputs, run_id: str) -> dict[str, str]:
    """Gives the first step of a run an HTML page and an element tree, which only steps with a language model have by themselves.

    Returns the texts in the UI's panels, by the panels' names.
    """
    contents = {
        "html_scrape": ("html", "<p>planted-by-the-rehearsal</p>"),
        "visible_elements_tree": ("json", '[{"id": "planted-element"}]'),
    }
    for kind, (ending, content) in contents.items():
        variables = (f"--set=kind={kind}", f"--set=ending={ending}", f"--set=run={run_id}")
        command = ("psql", "--dbname=skyvern", "--no-psqlrc", "--tuples-only", "--no-align", "--quiet", *variables)
        path = docker.run("exec", "--interactive", outputs.containers["roles"], *command, stdin=PLANT.encode()).strip()
        docker.run("exec", "--interactive", outputs.containers["server"], "sh", "-c", 'cat >"$0"', path, stdin=content.encode())
    return {"HTML (Raw)": "planted-by-the-rehearsal", "Element Tree": "planted-element"}
