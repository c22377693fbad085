"""The resources of a stack's automations, of the files that files.py has checked."""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.automations.files import Automation
from components.settings import AutomationSettings
from skyvern_provider import resources as skyvern


@dataclass(frozen=True, kw_only=True)
class AutomationsArgs:
    """api_url: of Skyvern's API as this machine reaches it. api_key: secret.

    automations: checked files. data: the resource that holds the database: where it is deleted, there is nothing left to delete.
    """

    api_url: str
    api_key: pulumi.Input[str]
    settings: AutomationSettings
    automations: Sequence[Automation]
    data: pulumi.Resource


class Automations(pulumi.ComponentResource):
    """Workflows with their folders, schedules, credentials and browser profiles.

    Not here: a look at the server, which a plan does not need (skyvern_provider).
    """

    def __init__(self, name: str, args: AutomationsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:automations:Automations", name, None, opts)
        provider = skyvern.Provider(
            f"{name}-api",
            url=args.api_url,
            api_key=args.api_key,
            on_ui_edit=args.settings.on_ui_edit,
            # Its requests need a server that answers.
            opts=pulumi.ResourceOptions(parent=self),
        )
        child = pulumi.ResourceOptions(parent=self, provider=provider, deleted_with=args.data)
        folders = {
            title: skyvern.Folder(f"{name}-folder-{_short(title)}", title=title, opts=child)
            for title in sorted({automation.folder for automation in args.automations if automation.folder})
        }
        profiles = {
            profile: skyvern.BrowserProfile(f"{name}-profile-{_short(profile)}", name=profile, opts=child)
            for profile in sorted({automation.browser_profile for automation in args.automations if automation.browser_profile})
        }
        credentials = {
            key: skyvern.Credential(
                f"{name}-credential-{key}",
                name=key,
                type=settings.type,
                tested_url=settings.tested_url,
                values=settings.values(),
                opts=child,
            )
            for key, settings in sorted(args.settings.credentials.items())
        }
        ids = {key: credential.id for key, credential in credentials.items()}
        for automation in args.automations:
            profile = profiles.get(automation.browser_profile or "")
            folder = folders.get(automation.folder or "")
            workflow = skyvern.Workflow(
                f"{name}-{automation.name}",
                name=automation.name,
                definition=_definition(automation, ids, None if profile is None else profile.id),
                folder_id=None if folder is None else folder.id,
                opts=child,
            )
            for key, schedule in sorted(automation.schedules.items()):
                skyvern.Schedule(
                    f"{name}-{automation.name}-{key}",
                    workflow_id=workflow.id,
                    name=key,
                    cron=schedule.cron,
                    timezone=schedule.timezone,
                    parameters=schedule.parameters,
                    enabled=schedule.enabled,
                    opts=child,
                )
        self.register_outputs({})


def _definition(
    automation: Automation, credentials: Mapping[str, pulumi.Output[str]], profile: pulumi.Output[str] | None
) -> dict[str, Any]:
    """Skyvern's document, with the ids that are known only when what they name exists."""
    definition: dict[str, Any] = copy.deepcopy(dict(automation.definition))
    for parameter in definition["workflow_definition"]["parameters"]:
        if parameter["parameter_type"] == "credential" and parameter["key"] in automation.credentials:
            parameter["credential_id"] = credentials[automation.credentials[parameter["key"]]]
    if profile is not None:
        definition["browser_profile_id"] = profile
    return definition


def _short(text: str) -> str:
    """A title in the name of a resource, which Hangul and spaces would make long."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
