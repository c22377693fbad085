"""Names and values of environment variables, wherever they are set: which are secrets, and which no one may use.

The only list of secrets' names in the pack. Outside of it, ops/redaction.py and images/server/start_report.py have lists for what
they read; tests/unit/test_secret_names.py compares them.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

# Last words of secrets' names, also run together with what is before them: PGPASSWORD.
SECRET_WORDS = tuple("APIKEY AUTHORIZATION BCRYPT COOKIE CREDENTIAL PASSPHRASE PASSWD PASSWORD SECRET TOKEN".split())
_WORDS = "|".join(SECRET_WORDS)
# MONKEY is not a key, and PWD alone is the working directory.
_SECRET_NAME = re.compile(rf"(({_WORDS}|(^|_)KEY)S?(_HASH)?|_PWD|LOGIN_(HASH|SHA256))$", re.IGNORECASE)
# Named like secrets; Skyvern's variables that end with the second hold the name of a model (EXTRACTION_LLM_KEY).
NOT_SECRET = frozenset({"PUBLIC_KEY"})
MODEL_KEY = "LLM_KEY"
# Of keys only those of an API: other options with keys, and those in the plural, name files (--tls-key, --credentials).
# An option that switches one off or asks for it has no value: --no-password, --disable-cookie.
_SECRET_OPTION = re.compile(
    rf"--?(?!-|(no|without|disable|ask|force|prompt)-)([\w-]*({_WORDS})|([\w-]*-)?api-key)", re.IGNORECASE
)
# A password that is chosen: of keys, those that sign. A provider's key is as long as the provider makes it.
_PASSWORD_NAME = re.compile(r"(PASSWORD|PASSPHRASE|SECRET|SECRET_KEY|SIGNING_KEY)$", re.IGNORECASE)

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
        """The password in the value, if that is a URL with a password."""
        if "://" not in self.value:
            return None
        try:
            return urlsplit(self.value).password
        except ValueError:
            return None

    @property
    def password(self) -> str | None:
        """The password in it: of a URL, or the whole value of a variable that is named like one."""
        return self.value if self.url_password is None and _PASSWORD_NAME.search(self.name) else self.url_password

    @property
    def looks_secret(self) -> bool:
        """Whether its name is a secret's, or its value is a URL with a password; an empty value is not a secret."""
        return bool(self.value) and (is_secret_name(self.name) or self.url_password is not None)

    @property
    def has_default(self) -> bool:
        """Whether it is a secret that everyone tries first."""
        secret = self.value if self.url_password is None else self.url_password
        return self.looks_secret and is_default(self.name, secret)


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds a secret."""
    words = name.upper()
    is_model = words == MODEL_KEY or words.endswith(f"_{MODEL_KEY}")
    return words not in NOT_SECRET and not is_model and bool(_SECRET_NAME.search(name))


def is_secret_option(option: str) -> bool:
    """Whether a program's option of this name, ``--token``, has a secret for its value."""
    return bool(_SECRET_OPTION.fullmatch(option))


def is_for_browsers(name: str) -> bool:
    """Whether a variable of this name ends up in the files that a browser loads."""
    return name.upper().startswith(_CLIENT_PREFIXES)


def is_default(name: str, value: str) -> bool:
    """Whether a secret is one that everyone tries first: a known default, a placeholder, or its own name."""
    return value.lower() in _DEFAULTS or value.lower() == name.lower() or bool(_PLACEHOLDER.search(value))
