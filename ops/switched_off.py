"""Variables of a shell that switch a check off: certificates, hashes of packages, levels of policies. Refused by name.

Refused and not removed: whoever set one expects it to count, and programs that a person starts beside ours would still see it.
Not here: configuration files of pip, npm, curl and git, which their user wrote and which no shell passes on.
"""

import os
from collections.abc import Iterator, Mapping

from ops.errors import UserError

# The values that mean off.
_OFF = frozenset({"0", "false", "no", "off", ""})
# Flags of Pulumi that say how it prints, or when it fetches plugins; any other one would change what is planned or who may
# refuse it.
_HARMLESS_OPTIONS = frozenset({"COLOR", "NON_INTERACTIVE", "EMOJI", "LOGTOSTDERR", "VERBOSE", "SKIP_PLUGIN_PRE_INSTALL"})
_PULUMI_OPTION = "PULUMI_OPTION_"


def check(environ: Mapping[str, str] = os.environ) -> None:
    """UserError in one line for the first such variable, with its effect."""
    for name, effect in effects(environ):
        raise UserError(f"{name}: {effect}; unset it (docs/security.md)")


def effects(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Name and effect of every such variable, by name. Values are not repeated: one may hold a login."""
    for name, value in sorted(environ.items()):
        effect = _effect(name, value)
        if effect:
            yield name, effect


def _effect(name: str, value: str) -> str:
    off = value.strip().lower() in _OFF
    match name.upper():
        case "GIT_SSL_NO_VERIFY" if not off:
            return "git would not check certificates"
        case "PYTHONHTTPSVERIFY" if off:
            return "Python would not check certificates"
        case "NODE_TLS_REJECT_UNAUTHORIZED" if off:
            return "Node would not check certificates"
        case "NPM_CONFIG_STRICT_SSL" if off:
            return "npm would not check certificates"
        case "PIP_TRUSTED_HOST" | "UV_INSECURE_HOST" if value:
            return "packages would be taken from hosts without a certificate"
        case "GOINSECURE" if value:
            return "Go modules would be taken from hosts without a certificate"
        case "GOFLAGS" if {"-mod=mod", "-insecure"} & set(value.replace("--", "-").split()):
            return "Go would take modules that go.sum does not name"
        case "PULUMI_SKIP_CONFIRMATIONS" if not off:
            return "Pulumi would apply without asking"
        case upper if upper.startswith(_PULUMI_OPTION):
            option = upper.removeprefix(_PULUMI_OPTION)
            # Ours, from script/env; every run of ours sets it again.
            if option != "POLICY_PACK" and option not in _HARMLESS_OPTIONS:
                return "a flag of Pulumi, by which a plan or the policies would differ from the checkout"
    return ""
