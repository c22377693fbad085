"""The stack file as a schema: every key, its type, default, unit and example, once.

This is the only reader of the Pulumi configuration; everything else gets frozen values. ``docs/configuration.md`` is made from
it. A wrong stack file raises SettingsError, whose lines are ``FILE: PATH: VALUE is wrong; write this``. Nothing here looks at the
environment, the network or the machine, so a plan depends on committed text only. What is imported here is for everybody.
"""

from components.settings.automations import AutomationSettings, CredentialSettings
from components.settings.backup import Backup, NoBackup, PathBackup, RemoteBackup, S3Backup, SftpBackup, SomeBackup
from components.settings.base import ENCRYPTED, THIS_HOST, split_destination
from components.settings.browser import Browser, CdpBrowser
from components.settings.conflicts import STACK_CHARACTERS, SWARM_DRAIN_MINUTES
from components.settings.database import DatabaseAddress, DatabaseSettings
from components.settings.edge import CloudflareEdge, NgrokEdge, NoEdge, Tunnel
from components.settings.errors import REHEARSAL, SettingsError, set_secret
from components.settings.frontend import VercelFrontend
from components.settings.host import HostSettings, ImageSource, RetentionSettings, ServerSettings
from components.settings.llm import AnthropicLlm, GeminiLlm, Llm, NoLlm, OllamaLlm, OpenAiCompatibleLlm, OpenAiLlm
from components.settings.monitor import MonitorSettings
from components.settings.rotation import RotationSettings
from components.settings.schema import Settings, sections
from components.settings.smtp import SmtpSettings
from components.settings.stack_file import encrypted_paths, load, mistake, parse
from components.settings.storage import LocalStorage, S3Storage, Storage
