"""Blanks secrets in text and data, wherever they come from: by value, by name, by shape.

By value: values that the caller knows to be secret, also as they are in a URL, in JSON or in base64. By name: what follows
``api_key=`` or has the key ``apiToken``. By shape: tokens, hashes, private keys, passwords in URLs, long random words.
Digests of images, commits and ids are hexadecimal and stay: reports are about them. Not here: where values come from.
"""

import base64
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

# Shorter values are blanked only as whole words; the shortest not at all, or no report could be read.
SHORTEST_INSIDE = 8
SHORTEST_WORD = 4
# A base64 text can be recognised by its middle only if that is long enough.
SHORTEST_ENCODED = 12

# The same three as in policy/rules/variables.py, which imports nothing of ours; tests/unit/test_secret_names.py compares.
# Last words of secrets' names, also run together with what is before them: PGPASSWORD.
SECRET_WORDS = tuple("APIKEY AUTHORIZATION BCRYPT COOKIE CREDENTIAL PASSPHRASE PASSWD PASSWORD SECRET TOKEN".split())
# Named like secrets; Skyvern's variables that end with the second hold the name of a model (EXTRACTION_LLM_KEY).
NOT_SECRET = frozenset({"PUBLIC_KEY"})
MODEL_KEY = "LLM_KEY"
_WORDS = "|".join(SECRET_WORDS)
# KEY alone is the name of a model in the stack file, and the hash of anything else (a build context) is not a secret.
_SECRET_NAME = re.compile(rf"((({_WORDS})S?|_KEY|PWD)(_HASH)?|LOGIN_(HASH|SHA256))$")

_URL_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^:/@\s\"']*):([^@\s\"'/]+)@")
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+)?")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_BCRYPT = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{20,}")
_PREFIXED = re.compile(
    r"\b(?:sk-(?:proj-|ant-)?|ghp_|gho_|ghs_|ghu_|github_pat_|glpat-|xox[abpr]-|AKIA|AIza|pul-|npm_|pypi-|v1\.0-)[A-Za-z0-9_-]{16,}"
)
_HEADER = re.compile(r"(?i)(\bauthorization[\"']?\s*[=:]\s*[\"']?(?:basic|bearer)\s+)[^\s\"',}]+")
# After a colon only what is quoted or looks like a value: messages say "api_key: is missing".
_NAMED = re.compile(
    rf"""(?ix)
    (?P<name> \b (?: [a-z] [a-z0-9_.-]*? )??
      (?: {_WORDS} | credentials | (?<=[_-]) (?: key | pwd ) ) (?: _?hash )? ["']? )
    (?: (?P<equals> \s* = \s* ["']? ) (?P<assigned> (?!REDACTED) [^\s&"',;}}\)]+ )
      | (?P<colon> \s* : \s* ) (?: (?P<quote> ["'] ) (?P<quoted> (?!REDACTED) [^"'\n]+ ) (?P=quote)
                                   | (?P<bare> (?= [^\s&"',;}}\)]* \d ) [^\s&"',;}}\)]{{8,}} ) ) )
    """
)
# Not in a URL, where it is a login.
_EMAIL = re.compile(r"(?<![/\w.+-])([\w+-])[\w.+-]*@([\w-]+(?:\.[\w-]+)+)")
_WORD = re.compile(r"[A-Za-z0-9_+-]{24,}={0,2}")


def name_is_secret(name: str) -> bool:
    """Whether a variable, key or property of this name (``OPENAI_API_KEY``, ``tunnelSecret``) holds a secret."""
    words = "_".join(re.findall(r"(?:[A-Z]+(?![a-z])|[A-Z]?[a-z]+)\d*|\d+", name)).upper()
    is_model = words == MODEL_KEY or words.endswith(f"_{MODEL_KEY}")
    return words not in NOT_SECRET and not is_model and bool(_SECRET_NAME.search(words))


def url_passwords(text: str) -> list[str]:
    """The passwords of all URLs in a text."""
    return [password for _, password in _URL_PASSWORD.findall(text)]


def looks_random(word: str) -> bool:
    """Whether a word of 24 characters or more reads like a generated key.

    Hexadecimal words are digests and ids. CamelCase changes between upper and lower case less often than chance does (0.62 of
    all neighbours differ in class for random letters and digits, about 0.35 in type names).
    """
    if re.fullmatch(r"[0-9a-f-]+|[0-9A-F-]+", word):
        return False
    classes = [0 if letter.islower() else 1 if letter.isupper() else 2 if letter.isdigit() else 3 for letter in word]
    if not {0, 1, 2} <= set(classes):
        return False
    changes = sum(left != right for left, right in itertools.pairwise(classes))
    return changes / (len(word) - 1) > 0.4


@dataclass(frozen=True, repr=False)
class Redactor:
    """Blanks the given values and whatever looks like a secret. ``mask`` takes their place; never print the redactor itself.

    inside, words, encoded: forms of the values, the longest first. Those in ``words`` count only as whole words; with one in
    ``encoded`` goes the whole base64 text around it.
    """

    inside: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    encoded: tuple[str, ...] = ()
    values: frozenset[str] = frozenset()
    mask: str = "[secret]"

    @classmethod
    def of(cls, values: Iterable[str], *, mask: str = "[secret]") -> "Redactor":
        """A redactor of these values; an empty or very short one (under four characters) is left to names and marks."""
        inside: set[str] = set()
        words: set[str] = set()
        encoded: set[str] = set()
        given = frozenset(values)
        for value in given:
            for form in _forms(value):
                if len(form) >= SHORTEST_INSIDE:
                    inside.add(form)
                elif len(form) >= SHORTEST_WORD:
                    words.add(form)
            encoded.update(_encoded(value.strip()))

        def longest_first(forms: set[str]) -> tuple[str, ...]:
            return tuple(sorted(forms, key=lambda form: (-len(form), form)))

        return cls(longest_first(inside), longest_first(words), longest_first(encoded), given, mask)

    def text(self, text: str) -> str:
        """The text without secrets."""
        for value in self.inside:
            if value in text:
                text = text.replace(value, self.mask)
        for value in self.words:
            if value in text:
                text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])", lambda _: self.mask, text)
        for value in self.encoded:
            if value in text:
                text = re.sub(rf"[A-Za-z0-9+/_-]*{re.escape(value)}[A-Za-z0-9+/_-]*=*", lambda _: self.mask, text)
        if "://" in text:
            text = _URL_PASSWORD.sub(rf"\1:{self.mask}@", text)
        if "-----BEGIN" in text:
            text = _PEM.sub(self.mask, text)
        text = _JWT.sub(self.mask, text)
        if "$2" in text:
            text = _BCRYPT.sub(self.mask, text)
        text = _PREFIXED.sub(self.mask, text)
        text = _HEADER.sub(rf"\g<1>{self.mask}", text)
        return _NAMED.sub(self._named, text)

    def value(self, value: Any, name: str = "") -> Any:
        """Data of the same shape without secrets; ``name``: its key, which may make it a secret.

        An element ``NAME=value`` of a list is judged by its own name, and so is the value of a variable or a label.
        """
        match value:
            case str():
                return self._string(value, name)
            case dict():
                # A variable or a label may be written as {key, value}.
                called = next((str(value[key]) for key in ("key", "name", "label") if isinstance(value.get(key), str)), "")
                return {key: self.value(item, called if key == "value" else str(key)) for key, item in value.items()}
            case list():
                return [self.value(item, name) for item in value]
        return value

    def _string(self, text: str, name: str) -> str:
        variable, equals, assigned = text.partition("=")
        if equals and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable) and "\n" not in text[:200]:
            return f"{variable}={self._string(assigned, variable)}"
        # The epoch of a rotation has the secret's name for a key.
        if text and name_is_secret(name) and not (text.isdigit() and len(text) < SHORTEST_WORD):
            return self.mask
        return self.everything(text)

    def everything(self, text: str) -> str:
        """The text for publication: without secrets, words that look like an unknown key, and names in people's addresses."""
        words = _WORD.sub(lambda word: self.mask if looks_random(word[0]) else word[0], self.text(text))
        return _EMAIL.sub(r"\1***@\2", words)

    def _named(self, match: re.Match[str]) -> str:
        if not name_is_secret(match["name"].strip("\"'").replace("-", "_")):
            return match[0]
        mark = match["quote"] or ""
        return f"{match['name']}{match['equals'] or match['colon']}{mark}{self.mask}{mark}"


def _forms(value: str) -> Iterator[str]:
    """The forms of a value in a text: as it is, its lines, in a URL, in JSON, and the passwords of URLs in it."""
    stripped = value.strip()
    # A secret with one of these values is kept by its mark alone.
    if not stripped or stripped.lower() in {"true", "false", "null", "none"}:
        return
    yield stripped
    if "\n" in stripped:
        yield from (line.strip() for line in stripped.splitlines() if len(line.strip()) >= SHORTEST_INSIDE)
    yield from {quote(stripped, safe=""), quote_plus(stripped), json.dumps(stripped)[1:-1]} - {stripped}
    # Each of its characters by number, in any of the usual notations; for a short value, digits of other things would be blanked.
    if len(stripped) >= SHORTEST_INSIDE:
        content = stripped.encode()
        for numbers in (content.hex(), content.hex().upper()):
            pairs = [numbers[place : place + 2] for place in range(0, len(numbers), 2)]
            yield numbers
            yield from (
                "".join(f"{mark}{pair}" for pair in pairs)
                for mark in ("%", "\\x", "\\u00")
                if content.isascii() or mark != "\\u00"
            )
    yield from url_passwords(stripped)


def _encoded(value: str) -> Iterator[str]:
    """The part of a value in base64 that is the same whatever is before and after it."""
    if len(value) < SHORTEST_ENCODED:
        return
    # It begins at any of three places of its neighbours' base64.
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + value.encode())
        middle = text[(0, 2, 3)[shift] : len(text) - (0, 4, 4)[(len(value.encode()) + shift) % 3]].decode()
        if len(middle) >= SHORTEST_INSIDE:
            yield from {middle, middle.replace("+", "-").replace("/", "_")}
