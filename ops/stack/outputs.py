"""The outputs of a deployed stack. Reading them: ``Stack.outputs``.

Not here: the stack's settings (components/settings), and anything that changes a stack.
"""

import json

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from ops.clients import swarm
from ops.clients.docker import Docker
from ops.errors import UserError


class Outputs(BaseModel):
    """The exports of a stack that day-two commands use.

    app_url, api_url, stream_url: origins without a trailing slash, for example ``http://localhost:8080``.
    smoke_api_key: of the organisation of the smoke runs; None in the outputs of a version before it.
    browser_type: ``headless``, ``headful`` or ``cdp-connect``, as in the stack file.
    gateway_key: where the UI is on Vercel. artifact_url: origin of recordings there, for that key; None where none are shown.
    smoke_url: origin of the static pages inside the stack, as the stack's browser sees it.
    docker_host: ``unix:///var/run/docker.sock`` or ``ssh://user@host``. docker_nodes: the other machines of its Swarm; None on
    plain Docker. containers: part (``gateway``) to name of its container or service (``skyvern-dev-gateway``).
    internet_hosts: who is asked whether browsers reach the internet; empty on a machine that is offline on purpose. None in the
    outputs of a version before it.
    """

    # Exports that no command here reads may come and go.
    model_config = ConfigDict(frozen=True, extra="ignore")

    app_url: str
    api_url: str
    stream_url: str
    browser_type: str
    smoke_url: str
    ui_username: str
    ui_password: SecretStr
    api_key: SecretStr
    docker_host: str
    docker_nodes: list[str] | None = None
    containers: dict[str, str]
    smoke_api_key: SecretStr | None = None
    metrics_key: SecretStr | None = None
    gateway_key: SecretStr | None = None
    artifact_url: str | None = None
    internet_hosts: list[str] | None = None

    def docker(self) -> Docker:
        """The daemon on which the stack was deployed, or its Swarm; UserError if no manager of that answers."""
        return Docker(self.docker_host) if self.docker_nodes is None else swarm.find([self.docker_host, *self.docker_nodes])

    @property
    def on_vercel(self) -> bool:
        """Whether the UI is on Vercel; else it is behind the gateway."""
        return self.gateway_key is not None


def parse(stack: str, text: str | bytes) -> Outputs:
    """Outputs from the JSON of ``pulumi stack output --json --show-secrets``.

    Raises UserError when an output is missing. The error names it and never repeats a value: one of them may be a key.
    """
    try:
        return Outputs.model_validate(json.loads(text))
    except json.JSONDecodeError as wrong:
        raise UserError(f"stack {stack}: pulumi stack output printed no JSON; run pulumi up -s {stack}") from wrong
    except ValidationError as wrong:
        fields = ", ".join(sorted({".".join(str(part) for part in error["loc"]) for error in wrong.errors()}))
        raise UserError(f"stack {stack}: outputs missing or malformed: {fields}; run pulumi up -s {stack}") from None
