"""The schema of the whole stack file: its sections, and the kinds of those that have several."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, get_args

from pydantic import Field, field_validator

from components.settings.automations import AutomationSettings
from components.settings.backup import Backup, NoBackup
from components.settings.base import Section
from components.settings.browser import Browser, HeadlessBrowser
from components.settings.database import DatabaseSettings
from components.settings.edge import CloudflareEdge, Edge, NoEdge
from components.settings.frontend import Frontend, GatewayFrontend
from components.settings.host import HostSettings, ImageSettings, RetentionSettings, ServerSettings
from components.settings.llm import Llm, NoLlm
from components.settings.monitor import MonitorSettings
from components.settings.rotation import DeploymentSettings, RotationSettings
from components.settings.smtp import SmtpSettings
from components.settings.storage import LocalStorage, Storage


class Settings(Section):
    """The whole stack file. Each field is one key below `skyvern:`."""

    images: ImageSettings = ImageSettings()
    host: HostSettings = HostSettings()
    server: ServerSettings = ServerSettings()
    browser: Annotated[
        Browser,
        Field(discriminator="type", description="The browser that Skyvern drives; `headless` without a `type`."),
    ] = HeadlessBrowser()
    database: DatabaseSettings = DatabaseSettings()
    storage: Annotated[Storage, Field(discriminator="type", description="Where the files of runs are kept.")] = LocalStorage()
    backup: Annotated[
        Backup, Field(discriminator="type", description="Where sets of the database and the files are kept (docs/backup.md).")
    ] = NoBackup()
    monitor: MonitorSettings = MonitorSettings()
    rotation: RotationSettings = RotationSettings()
    retention: RetentionSettings = RetentionSettings()
    deployment: DeploymentSettings = DeploymentSettings()
    llm: Annotated[Llm, Field(discriminator="provider", description="The language model that reads pages and decides.")] = NoLlm()
    smtp: SmtpSettings = SmtpSettings()
    automations: AutomationSettings = AutomationSettings()
    edge: Annotated[Edge, Field(discriminator="provider", description="How the stack is reached from outside.")] = NoEdge()
    frontend: Annotated[Frontend, Field(discriminator="provider", description="Where the UI is served.")] = GatewayFrontend()

    @property
    def cell(self) -> str | None:
        """The stack's name among several in one zone, if it has one."""
        return self.edge.cell if isinstance(self.edge, CloudflareEdge) else None

    @field_validator("browser", mode="before")
    @classmethod
    def _headless_without_a_type(cls, value: Any) -> Any:
        """So that a section with a locale alone is possible."""
        return {"type": "headless", **value} if isinstance(value, dict) else value


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A section with several schemas. key: the one that chooses. schemas: by that key's value."""

    key: str
    schemas: Mapping[str, type[Section]]


def schemas(section: str) -> tuple[type[Section], ...]:
    """The schema of a section, or the several that it has."""
    annotation: Any = Settings.model_fields[section].annotation
    return get_args(annotation) or (annotation,)


def _choice(section: str, key: str) -> Choice:
    tagged = {get_args(schema.model_fields[key].annotation)[0]: schema for schema in schemas(section)}
    return Choice(key=key, schemas=MappingProxyType(tagged))


CHOICES: Mapping[str, Choice] = MappingProxyType(
    {
        section: _choice(section, field.discriminator)
        for section, field in Settings.model_fields.items()
        if isinstance(field.discriminator, str)
    }
)


def sections() -> list[tuple[str, str, list[type[Section]]]]:
    """Key, description and schemas of each section in the order of the stack file; a section with a choice has several."""
    return [
        (section, field.description or schemas(section)[0].__doc__ or "", list(schemas(section)))
        for section, field in Settings.model_fields.items()
    ]
