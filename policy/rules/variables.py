"""What an environment variable's name and value say about it, wherever it is set: which are secrets, and which nobody may use."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_SECRET_NAME = re.compile(
    r"(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|(^|_)KEY)S?(_HASH)?$|LOGIN_(HASH|SHA256)$", re.IGNORECASE
)
# Named like secrets and none: in Skyvern these hold the name of a model.
_NO_SECRETS = frozenset({"LLM_KEY", "SECONDARY_LLM_KEY"})

_DEFAULTS = frozenset(
    "admin administrator changeit default example letmein mysql ollama passw0rd password postgres qwerty root secret skyvern "
    "test 1234 12345 123456 12345678".split()
)
_PLACEHOLDER = re.compile(
    r"(^|[-_ .])your[-_ .]|change[-_ ]?me|[-_ ]here$|^(<.*>|x{3,}|\*+|\.+|todo|placeholder|none|null)$", re.IGNORECASE
)

# A build that finds one of these writes its value into the files that every visitor loads.
_CLIENT_PREFIXES = (
    "EXPO_PUBLIC_",
    "GATSBY_",
    "NEXT_PUBLIC_",
    "NG_APP_",
    "NUXT_PUBLIC_",
    "PUBLIC_",
    "REACT_APP_",
    "STORYBOOK_",
    "VITE_",
    "VUE_APP_",
)


@dataclass(frozen=True)
class Variable:
    """One variable of an environment. path: where its value is, for asking whether it was sent as a secret."""

    path: str
    name: str
    value: str

    @property
    def url_password(self) -> str | None:
        """The password in the value, where that is a URL with one."""
        if "://" not in self.value:
            return None
        try:
            return urlsplit(self.value).password
        except ValueError:
            return None

    @property
    def secret(self) -> str:
        """The secret in it: the password of a URL, else the whole value."""
        return self.value if self.url_password is None else self.url_password

    @property
    def looks_secret(self) -> bool:
        """Whether its name is a secret's, or its value is a URL with a password; an empty value is none."""
        return bool(self.value) and (is_secret_name(self.name) or self.url_password is not None)

    @property
    def has_default(self) -> bool:
        """Whether it is a secret that everyone tries first."""
        return self.looks_secret and is_default(self.name, self.secret)


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds a secret."""
    return name not in _NO_SECRETS and bool(_SECRET_NAME.search(name))


def is_for_browsers(name: str) -> bool:
    """Whether a variable of this name ends up in the files that a browser loads."""
    return name.upper().startswith(_CLIENT_PREFIXES)


def is_default(name: str, value: str) -> bool:
    """Whether a secret is one that everybody tries first: a known default, a placeholder, or its own name."""
    return value.lower() in _DEFAULTS or value.lower() == name.lower() or bool(_PLACEHOLDER.search(value))
