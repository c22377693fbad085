"""A deployed stack's Skyvern as the commands about automations ask it: the client, and what is found by a name."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ops.clients import proxies
from ops.errors import UserError
from ops.stack.stack import Stack
from skyvern_provider.api import Api, ApiError, is_loopback
from skyvern_provider.kinds import RESERVED, Applied, Workflow, computed_workflow_id

# A command that a person waits for.
READY_SECONDS = 3.0


@dataclass(frozen=True)
class Server:
    """The API of a stack, found as the smoke run finds it. app_url: of the UI."""

    api: Api
    app_url: str

    @classmethod
    def of(cls, stack: Stack) -> "Server":
        """From the stack's outputs; UserError if it was never deployed."""
        outputs = stack.outputs()
        transport = None if is_loopback(outputs.api_url) else proxies.Transport()
        key = outputs.api_key.get_secret_value()
        return cls(Api(outputs.api_url, key, transport=transport, ready_seconds=READY_SECONDS), outputs.app_url)

    def managed(self, name: str) -> str:
        """The id that the workflow of a file has, whether it exists or not; UserError if the key is not one of Skyvern's."""
        with _refusals():
            return computed_workflow_id(self.api.api_key, RESERVED + name)

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """``Api.ask``, with a UserError for a refusal."""
        with _refusals():
            return self.api.ask(method, path, **request)

    def pages(self, path: str, key: str | None = None) -> list[dict[str, Any]]:
        """``Api.pages`` as a whole, with a UserError for a refusal."""
        with _refusals():
            return list(self.api.pages(path, key))

    def workflows(self) -> list[dict[str, Any]]:
        """The newest version of each workflow."""
        return self.pages("/v1/workflows")

    def find(self, name: str) -> dict[str, Any]:
        """A workflow by the name of its file, its id or its title; UserError if there is none, or several of a title."""
        identifier = name if name.startswith("wpid_") else self.managed(name)
        workflow: dict[str, Any] | None = self.ask("GET", f"/v1/workflows/{identifier}")
        if workflow is not None:
            return workflow
        titled = [workflow for workflow in self.workflows() if workflow.get("title") == name]
        if len(titled) == 1:
            return titled[0]
        if titled:
            ids = ", ".join(workflow["workflow_permanent_id"] for workflow in titled)
            raise UserError(f"{name}: is the title of {len(titled)} workflows; name one by its id: {ids}")
        raise UserError(f"{name}: is not a workflow of this stack; see ops automations list")

    def note_pulled(self, workflow: dict[str, Any]) -> None:
        """A person has this version of a file's workflow in the file now; UserError for a refusal."""
        with _refusals():
            Workflow.note_pulled(self.api, workflow["workflow_permanent_id"], int(workflow["version"]))

    def applied(self, identifier: str) -> int:
        """The version that the last update recorded; 0 for a workflow that no file made."""
        with _refusals():
            return Applied.read(self.api, identifier).version


@contextmanager
def _refusals() -> Iterator[None]:
    """What the API refuses, as an error of a command."""
    try:
        yield
    except ApiError as refused:
        raise UserError(str(refused)) from None
