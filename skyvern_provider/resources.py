"""The classes for programs. Each takes keyword arguments; what they mean and what the server does is in README.md and kinds.py.

They are written by hand, because nothing but Python uses them: a generated SDK would be a package of its own.
"""

from collections.abc import Mapping
from typing import Any, Literal

import pulumi

from skyvern_provider.version import VERSION


class Provider(pulumi.ProviderResource):
    """Where Skyvern's API is, and its key.

    url: origin, ``https://api.example.com``. api_key: secret; a new one changes this resource alone. on_ui_edit: what happens to
    an edit that a person made in the UI: ``keep`` it (an update from the program is refused), ``overwrite`` it at the next update
    after a refresh, or ``adopt`` it as the base of the program's next change.
    """

    def __init__(
        self,
        name: str,
        *,
        url: pulumi.Input[str],
        api_key: pulumi.Input[str],
        on_ui_edit: Literal["keep", "overwrite", "adopt"] = "keep",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = {"url": url, "apiKey": pulumi.Output.secret(api_key), "onUiEdit": on_ui_edit}
        version = pulumi.ResourceOptions(version=VERSION)
        super().__init__("skyvern", name, inputs, pulumi.ResourceOptions.merge(version, opts))


class _Resource(pulumi.CustomResource):
    def __init__(self, kind: str, name: str, inputs: Mapping[str, Any], opts: pulumi.ResourceOptions | None) -> None:
        version = pulumi.ResourceOptions(version=VERSION)
        given = {key: value for key, value in inputs.items() if value is not None}
        super().__init__(f"skyvern:index:{kind}", name, given, pulumi.ResourceOptions.merge(version, opts))


class Folder(_Resource):
    """A folder of workflows; ``id`` is Skyvern's."""

    def __init__(self, resource_name: str, *, title: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("Folder", resource_name, {"title": title}, opts)


class BrowserProfile(_Resource):
    """A browser profile that a person saved in the UI under this name; ``id`` is Skyvern's."""

    def __init__(self, resource_name: str, *, name: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("BrowserProfile", resource_name, {"name": name}, opts)


class Credential(_Resource):
    """A credential; ``id`` is Skyvern's.

    type: ``password``, ``credit_card`` or ``secret``. values: Skyvern's fields of that type (``username``, ``password``,
    ``totp``); secret. tested_url: its site; Skyvern types it nowhere else.
    """

    def __init__(
        self,
        resource_name: str,
        *,
        name: str,
        type: Literal["password", "credit_card", "secret"],
        values: pulumi.Input[Mapping[str, pulumi.Input[str]]],
        tested_url: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = {"name": name, "type": type, "values": pulumi.Output.secret(values), "tested_url": tested_url}
        super().__init__("Credential", resource_name, inputs, opts)


class Workflow(_Resource):
    """A workflow; ``id`` is its permanent id, computed from the name and the organisation.

    name: identity; another name is another workflow. definition: Skyvern's document (title, workflow_definition, …).
    """

    def __init__(
        self,
        resource_name: str,
        *,
        name: str,
        definition: Mapping[str, Any],
        folder_id: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("Workflow", resource_name, {"name": name, "definition": definition, "folder_id": folder_id}, opts)


class Schedule(_Resource):
    """A schedule of a workflow.

    name: unique for the workflow. cron: five fields, at least five minutes apart. timezone: ``Asia/Seoul``. parameters: by name.
    """

    def __init__(
        self,
        resource_name: str,
        *,
        workflow_id: pulumi.Input[str],
        name: str,
        cron: str,
        timezone: str,
        parameters: Mapping[str, Any] | None = None,
        enabled: bool = True,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "workflow_id": workflow_id,
            "name": name,
            "cron": cron,
            "timezone": timezone,
            "parameters": dict(parameters or {}),
            "enabled": enabled,
        }
        super().__init__("Schedule", resource_name, inputs, opts)
