"""A person in a browser: the UI of a running stack, used in a headless Chromium from the public names on.

The Chromium and the Playwright that drives it are those of the server's image, so that nothing has to be installed. It runs in
the host's network, goes through the edge's proxy alone, and trusts the throw-away authority by a policy of its own.
Not here: what is clicked (ui.py, which runs in that container).
"""

import base64
import hashlib
import json
import ssl
import tempfile
from pathlib import Path

from ops import process
from ops.bootstrap import Progress
from ops.docker import Docker
from ops.errors import UserError
from ops.stack import Outputs

SCRIPT = Path(__file__).parent / "ui.py"
UI_SECONDS = 420


def fingerprint(certificate: Path) -> str:
    """SHA-256 of a certificate's public key in base64, as Chrome's flag takes it."""
    key = process.capture(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"]).decode()
    encoded = "".join(line for line in key.splitlines() if not line.startswith("-----"))
    return base64.b64encode(hashlib.sha256(base64.b64decode(encoded)).digest()).decode()


def policy(certificate: Path) -> str:
    """Chromium's policy that trusts an authority, as a file of /etc/chromium/policies/managed."""
    encoded = base64.b64encode(ssl.PEM_cert_to_DER_cert(certificate.read_text())).decode()
    return json.dumps({"CACertificates": [encoded]})


def use_ui(docker: Docker, outputs: Outputs, proxy_url: str | None, ca_file: Path | None, pictures: Path, say: Progress) -> None:
    """Uses the UI as a person does, with a line for each thing done; pictures of it land in ``pictures``.

    proxy_url, ca_file: the way to names that are not public. Raises UserError with what was not as it should be.
    """
    image = docker.inspect(outputs.containers["server"])["Config"]["Image"]
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.png"):
        old.unlink()
    # The image's user writes here.
    pictures.chmod(0o777)
    with tempfile.TemporaryDirectory() as folder:
        mounts = [(SCRIPT, "/rehearsal/ui.py"), (pictures, "/pictures")]
        if ca_file is not None:
            trusted = Path(folder) / "authority.json"
            trusted.write_text(policy(ca_file))
            Path(folder).chmod(0o755)
            mounts.append((trusted, "/etc/chromium/policies/managed/authority.json"))
        task = {
            "app_url": outputs.app_url,
            "own_urls": sorted({outputs.app_url, outputs.api_url, outputs.stream_url}),
            "smoke_url": outputs.smoke_url,
            "username": outputs.ui_username,
            "password": outputs.ui_password.get_secret_value(),
            "proxy": proxy_url,
        }
        options = [
            "--rm",
            "--interactive",
            "--network=host",
            "--init",
            "--cap-drop=ALL",
            "--shm-size=512m",
            "--env=BROWSER_SANDBOX=false",
        ]
        volumes = [f"--volume={source}:{target}" + ("" if target == "/pictures" else ":ro") for source, target in mounts]
        command = docker.command("run", *options, *volumes, image, "python", "/rehearsal/ui.py")
        try:
            told = process.capture(command, env=docker.environment(), stdin=json.dumps(task).encode(), timeout_seconds=UI_SECONDS)
        except UserError as failed:
            raise UserError(f"UI: {failed} (pictures: {pictures})") from failed
    for line in told.decode().splitlines():
        say(line)
