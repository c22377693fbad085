"""Calls to the stand-in providers: of a vendor's rules alone, and over the engine's protocol."""

from typing import Any, NoReturn

import pytest
from google.protobuf import json_format, struct_pb2

from lab.standins.providers import World
from lab.standins.providers.install import schema_of, vendor
from lab.standins.providers.vendor import Call, Kind, Refused
from lab.standins.providers.wire import marked
from lab.standins.providers.world import Data


class Api:
    """A vendor's API in front of a world, for one configuration of its provider."""

    def __init__(self, name: str, world: World, **config: str) -> None:
        self.name, self.world, self.config = name, world, config
        self.kinds: dict[str, Kind] = {kind.resource: kind for kind in vendor(name).kinds}

    def call(self, data: Data) -> Call:
        return Call(data, schema_of(self.name), self.config)

    def create(self, kind: str, /, **inputs: Any) -> tuple[str, dict[str, Any]]:
        with self.world.edit() as data:
            return self.kinds[kind].create(self.call(data), inputs)

    def read(self, kind: str, identifier: str, /, **known: Any) -> dict[str, Any] | None:
        return self.kinds[kind].read(self.call(self.world.read()), identifier, known)

    def update(self, kind: str, identifier: str, known: dict[str, Any] | None = None, /, **inputs: Any) -> dict[str, Any]:
        with self.world.edit() as data:
            return self.kinds[kind].update(self.call(data), identifier, inputs, known or inputs)

    def delete(self, kind: str, identifier: str, /, **known: Any) -> None:
        with self.world.edit() as data:
            self.kinds[kind].delete(self.call(data), identifier, known)

    def look_up(self, function: str, **arguments: Any) -> dict[str, Any]:
        return vendor(self.name).functions[function](self.call(self.world.read()), arguments)


def refusal(code: int | str) -> Any:
    """Expects a refusal with this code."""
    return pytest.raises(Refused, check=lambda error: error.code == code)


class Aborted(Exception):
    """A call over the protocol that ended with an error."""


class Context:
    """The used part of a call's context."""

    def abort(self, code: Any, details: str) -> NoReturn:
        raise Aborted(details)


def struct(value: dict[str, Any]) -> struct_pb2.Struct:
    """Properties as they are on the wire."""
    made = struct_pb2.Struct()
    made.update(value)
    return made


def decoded(value: struct_pb2.Struct) -> dict[str, Any]:
    """Properties from the wire; a secret is ``Secret(value)``."""
    result: dict[str, Any] = marked(json_format.MessageToDict(value))
    return result
