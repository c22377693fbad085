"""The inputs and outputs of an SDK, read from its classes: names on the wire, requiredness, types, secrets.

Only the package's Python code is read, so that a field that our program made up is refused, and a field that a new version of the
SDK renames is noticed. Not here: how a vendor's API judges the values.
"""

import collections.abc
import inspect
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from importlib import resources as files
from typing import Any, Literal

import pydantic
from pulumi import _types

from lab.standins.providers.wire import UNKNOWN

Kind = Literal["any", "bool", "int", "float", "str", "list", "map", "object"]

# Properties that the engine itself adds to a provider's configuration.
ENGINE_OWN = frozenset({"version", "pluginDownloadURL"})


class Shape(pydantic.BaseModel):
    """The type of a value. ``item``: of a list's or map's elements. ``fields``: of an object."""

    model_config = pydantic.ConfigDict(frozen=True)

    kind: Kind
    item: "Shape | None" = None
    fields: dict[str, "Field"] = {}


class Field(pydantic.BaseModel):
    """A property of an object."""

    model_config = pydantic.ConfigDict(frozen=True)

    shape: Shape
    required: bool


class Resource(pydantic.BaseModel):
    """A resource type.

    secrets: outputs that the SDK marks; inputs that it marks arrive as secrets. permissions: of the API token, as the
    documentation of the class lists them; empty if it lists none.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    inputs: dict[str, Field]
    outputs: dict[str, Field]
    secrets: frozenset[str]
    permissions: frozenset[str]


class Function(pydantic.BaseModel):
    """A look-up."""

    model_config = pydantic.ConfigDict(frozen=True)

    inputs: dict[str, Field]
    outputs: dict[str, Field]


class Schema(pydantic.BaseModel):
    """The part of a package that a stand-in answers to; keys are type and function tokens."""

    model_config = pydantic.ConfigDict(frozen=True)

    name: str
    version: str
    config: dict[str, Field]
    resources: dict[str, Resource]
    functions: dict[str, Function]


class Failure(typing.NamedTuple):
    """A refused property: its path, such as ``config.ingresses[0].service``, and why."""

    path: str
    reason: str


# --- Reflection ----------------------------------------------------------------------------------------------------------


def reflect(sdk: types.ModuleType, resources: Iterable[str], functions: Iterable[str]) -> Schema:
    """Reads the named resource classes and look-up functions of an SDK.

    resources: names of classes, such as "DnsRecord". functions: such as "get_zone". Raises LookupError for a name that the SDK
    does not have.
    """
    plugin = _plugin(sdk)
    classes = [(_member(sdk, name), _member(sdk, f"{name}Args")) for name in resources]
    return Schema(
        name=plugin["name"],
        version=plugin["version"],
        config=_inputs(sdk.ProviderArgs),
        resources={cls.__dict__["pulumi_type"]: _resource(cls, arguments) for cls, arguments in classes},
        functions=dict(_function(sdk, _member(sdk, name)) for name in functions),
    )


def _plugin(sdk: types.ModuleType) -> dict[str, str]:
    declared: dict[str, str] = json.loads((files.files(sdk) / "pulumi-plugin.json").read_text())
    return declared


def _member(sdk: types.ModuleType, name: str) -> Any:
    try:
        return getattr(sdk, name)
    except AttributeError:
        raise LookupError(f"{sdk.__name__} has no {name}") from None


def _resource(cls: Any, arguments: type) -> Resource:
    source = inspect.getsource(cls._internal_init)
    listed = re.findall(r"additional_secret_outputs=\[([^\]]*)\]", source)
    documentation = [overload.__doc__ or "" for overload in typing.get_overloads(cls.__init__)]
    return Resource(
        inputs=_inputs(arguments),
        outputs=_outputs(_types.resource_types(cls)),
        secrets=frozenset(re.findall(r'"(\w+)"', "".join(listed))),
        permissions=_permissions(documentation[0] if documentation else ""),
    )


def _function(sdk: types.ModuleType, function: Any) -> tuple[str, Function]:
    source = inspect.getsource(function)
    token = re.search(r"pulumi\.runtime\.invoke\('([^']+)'", source)
    assert token is not None, function
    # Forward references are written for the module's own type checker: inputs as seen in _inputs, results in outputs.
    names = {**vars(sdk), **vars(inspect.getmodule(function) or sdk)}
    hints = typing.get_type_hints(function, names, names)
    wire = dict(re.findall(r"__args__\['(\w+)'\] = (\w+)", source))
    parameters = inspect.signature(function).parameters
    inputs = {
        key: Field(shape=_shape(hints[name]), required=parameters[name].default is inspect.Parameter.empty)
        for key, name in wire.items()
    }
    result = next(cls for cls in hints["return"].__mro__ if "_pulumi_output_type" in vars(cls))
    return token[1], Function(inputs=inputs, outputs=_outputs(_types.output_type_types(result)))


def _permissions(documentation: str) -> frozenset[str]:
    heading, _, rest = documentation.partition("Accepted Permissions")
    return frozenset(re.findall(r"- `([^`]+)`", rest.partition("##")[0])) if not heading.strip() else frozenset()


def _inputs(cls: Any) -> dict[str, Field]:
    parameters = inspect.signature(cls.__init__).parameters
    python_names = {wire: name for name, wire in _types.input_type_py_to_pulumi_names(cls).items()}
    return {
        wire: Field(shape=_shape(type_), required=parameters[python_names[wire]].default is inspect.Parameter.empty)
        for wire, type_ in _types.input_type_types(cls).items()
    }


def _outputs(declared: Mapping[str, Any]) -> dict[str, Field]:
    return {wire: Field(shape=_shape(type_), required=False) for wire, type_ in declared.items()}


def _shape(annotation: Any) -> Shape:
    """The shape of an annotation; Input[T] is a union of T, Awaitable[T] and Output[T]."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return _union(typing.get_args(annotation))
    if annotation in (bool, int, float, str):
        return Shape(kind=annotation.__name__)
    if inspect.isclass(origin) and issubclass(origin, collections.abc.Mapping):
        return Shape(kind="map", item=_shape(typing.get_args(annotation)[1]))
    if inspect.isclass(origin) and issubclass(origin, collections.abc.Sequence):
        return Shape(kind="list", item=_shape(typing.get_args(annotation)[0]))
    if inspect.isclass(annotation) and _types.is_input_type(annotation):
        return Shape(kind="object", fields=_inputs(annotation))
    if inspect.isclass(annotation) and _types.is_output_type(annotation):
        return Shape(kind="object", fields=_outputs(_types.output_type_types(annotation)))
    if annotation is Any:
        return Shape(kind="any")
    raise LookupError(f"{annotation!r} is not a type that an SDK of Pulumi declares")


def _union(members: tuple[Any, ...]) -> Shape:
    values = [member for member in members if member is not type(None) and not _asynchronous(member)]
    # XArgs, XArgsDict (a TypedDict) and outputs.X are the same type, spelled three ways; the first has the names on the wire.
    first = next((member for member in values if _types.is_input_type(member)), None)
    if first is not None:
        return _shape(first)
    shapes = {_shape(member).model_dump_json(): _shape(member) for member in values}
    return next(iter(shapes.values())) if len(shapes) == 1 else Shape(kind="any")


def _asynchronous(member: Any) -> bool:
    origin = typing.get_origin(member)
    return inspect.isclass(origin) and (origin.__name__ == "Output" or issubclass(origin, collections.abc.Awaitable))


# --- Checks --------------------------------------------------------------------------------------------------------------


def failures(fields: Mapping[str, Field], values: Mapping[str, Any], path: str = "") -> list[Failure]:
    """Unknown, missing and wrongly typed properties of ``values``, which may hold ``UNKNOWN`` anywhere."""
    problems = [
        Failure(f"{path}{name}", f"is not a known property; known are {', '.join(sorted(fields))}")
        for name in values
        if name not in fields
    ]
    for name, field in fields.items():
        if values.get(name) is not None:
            problems += _value_failures(field.shape, values[name], f"{path}{name}")
        elif field.required:
            problems.append(Failure(f"{path}{name}", "is required"))
    return problems


def _value_failures(shape: Shape, value: Any, path: str) -> list[Failure]:
    if value == UNKNOWN or value is None or shape.kind == "any":
        return []
    if not _fits(shape.kind, value):
        return [Failure(path, f"is {_type_name(value)}, but {shape.kind} is expected")]
    if shape.kind == "object":
        return failures(shape.fields, value, f"{path}.")
    if shape.item is None:
        return []
    elements = ((f"{path}[{key}]", item) for key, item in (enumerate(value) if shape.kind == "list" else value.items()))
    return [failure for where, item in elements for failure in _value_failures(shape.item, item, where)]


def _fits(kind: Kind, value: Any) -> bool:
    match kind:
        case "bool":
            return isinstance(value, bool)
        case "int":
            # Every number is a double on the wire.
            return isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
        case "float":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "str":
            return isinstance(value, str)
        case "list":
            return isinstance(value, list)
        case "map" | "object":
            return isinstance(value, dict)
        case "any":
            return True


def _type_name(value: Any) -> str:
    return {dict: "object", list: "list", str: "str", bool: "bool"}.get(type(value), "a number")
