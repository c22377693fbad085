"""The part of Cloudflare's rules language that our own rules use, evaluated on a request.

Anything else raises ValueError, so that a rule which the stand-in cannot judge is not mistaken for a rule that matches nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_TOKEN = re.compile(r'\s*("(?:\\.|[^"\\])*"|\d+|[(){},]|[a-z_][a-z0-9_.]*(?:\[\*\])?)', re.IGNORECASE)
# Fields of a request: text, or lists of text.
Fields = Mapping[str, Any]


def matches(expression: str, fields: Fields) -> bool:
    """Whether the expression matches a request with these fields: ``http.host``, ``http.request.uri.args.names`` and so on."""
    tokens = _Tokens(expression)
    matched = _disjunction(tokens, fields)
    if tokens.next() is not None:
        raise ValueError(f"cannot be read to its end: {expression}")
    return matched


class _Tokens:
    def __init__(self, text: str) -> None:
        self._tokens = list(self._split(text.strip()))
        self._at = 0

    @staticmethod
    def _split(text: str) -> Iterator[str]:
        at = 0
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                raise ValueError(f"cannot be read at {text[at : at + 20]!r}")
            at = token.end()
            yield token[1]

    def peek(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def next(self) -> str | None:
        token = self.peek()
        self._at += 1
        return token

    def take(self, token: str) -> bool:
        """Whether this is the next token; then it is consumed."""
        if self.peek() != token:
            return False
        self._at += 1
        return True

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise ValueError(f"{token!r} is expected before {self.peek()!r}")


def _disjunction(tokens: _Tokens, fields: Fields) -> bool:
    matched = _conjunction(tokens, fields)
    while tokens.take("or"):
        # The right side is always read, because it has to be consumed.
        matched = _conjunction(tokens, fields) or matched
    return matched


def _conjunction(tokens: _Tokens, fields: Fields) -> bool:
    matched = _negation(tokens, fields)
    while tokens.take("and"):
        matched = _negation(tokens, fields) and matched
    return matched


def _negation(tokens: _Tokens, fields: Fields) -> bool:
    if tokens.take("not"):
        return not _negation(tokens, fields)
    if tokens.take("("):
        matched = _disjunction(tokens, fields)
        tokens.expect(")")
        return matched
    return _predicate(tokens, fields)


def _predicate(tokens: _Tokens, fields: Fields) -> bool:
    name = tokens.next() or ""
    if name == "starts_with":
        tokens.expect("(")
        value = str(_field(tokens.next() or "", fields))
        tokens.expect(",")
        prefix = _text(tokens.next())
        tokens.expect(")")
        return value.startswith(prefix)
    if name == "any":
        tokens.expect("(")
        values = _field((tokens.next() or "").removesuffix("[*]"), fields)
        accepted = _comparison(tokens)
        tokens.expect(")")
        return any(accepted(value) for value in values)
    return _comparison(tokens)(_field(name, fields))


def _comparison(tokens: _Tokens) -> Callable[[str], bool]:
    match tokens.next():
        case "eq":
            return {_text(tokens.next())}.__contains__
        case "ne":
            refused = _text(tokens.next())
            return lambda value: value != refused
        case "in":
            tokens.expect("{")
            accepted = set()
            while not tokens.take("}"):
                accepted.add(_text(tokens.next()))
            return accepted.__contains__
        case other:
            raise ValueError(f"{other!r} is not an operator that the stand-in knows")


def _field(name: str, fields: Fields) -> Any:
    if name not in fields:
        raise ValueError(f"{name!r} is not a field that the stand-in knows")
    return fields[name]


def _text(token: str | None) -> str:
    if token is None or not token.startswith('"'):
        raise ValueError(f"{token!r} is not a text in quotes")
    return re.sub(r"\\(.)", r"\1", token[1:-1])
