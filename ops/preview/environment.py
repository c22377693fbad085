"""The variables of a container one by one, where the provider keeps all of them as one secret. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from components.host.labels import ENVIRONMENT, parse_environment_label
from ops.preview.model import SECRET
from ops.preview.values import variable

Variables = dict[str, Any]


def with_environment(old: Any, new: Any) -> tuple[Any, Any, tuple[str, ...] | None]:
    """Both sides with ``envs`` as name -> value, if a side's label names what the provider hides; otherwise as they are.

    old, new: inputs without secrets (``readable``). A side whose variables are unknown leaves both as they are. Last come the
    names that ``with_names`` needs, in their order; empty if those of the sides differ; None if the sides are left as they are.
    """
    sides = (old, new)
    variables = [_variables(side) for side in sides]
    if ENVIRONMENT not in {label for side in sides for label in _labels(side)} or None in variables:
        return old, new, None
    orders = {tuple(names or ()) for names, side in zip(variables, sides, strict=True) if side is not None}
    return _with(old, variables[0]), _with(new, variables[1]), orders.pop() if len(orders) == 1 else ()


def with_names(details: Mapping[str, Any], variables: tuple[str, ...] | None) -> dict[str, Any]:
    """The provider's details with ``envs[3]`` by the name of that variable, ``envs`` if it is not known which one it is.

    variables: as ``with_environment`` returns them. The label is left out, because it repeats the variables.
    """
    if variables is None:
        return dict(details)
    named = {}
    for path, detail in details.items():
        index = re.fullmatch(r"envs\[(\d+)\]", path)
        if index is not None:
            named[f"envs[{variables[int(index[1])]}]" if int(index[1]) < len(variables) else "envs"] = detail
        elif not re.match(r"labels\b", path):
            named[path] = detail
    return named


def with_list(properties: Any) -> Any:
    """Properties with ``envs`` as a list of ``NAME=value`` again."""
    if not isinstance(properties, dict) or not isinstance(variables := properties.get("envs"), dict):
        return properties
    return {**properties, "envs": [f"{name}={value}" for name, value in variables.items()]}


def _variables(properties: Any) -> Variables | None:
    """Name -> value of the variables, ``SECRET`` for that of a secret; None if they are unknown."""
    envs = (properties or {}).get("envs") or []
    if envs == SECRET:
        text = _labels(properties).get(ENVIRONMENT)
        variables = parse_environment_label(text) if text else None
        return variables and {name: SECRET if value is None else value for name, value in variables.items()}
    names = [variable(text) for text in envs]
    if None in names or len(set(names)) < len(names):
        return None
    return {str(name): text.partition("=")[2] for name, text in zip(names, envs, strict=True)}


def _labels(properties: Any) -> dict[str, str]:
    labels = (properties or {}).get("labels")
    dicts = [label for label in labels if isinstance(label, dict)] if isinstance(labels, list) else []
    return {label["label"]: label["value"] for label in dicts if isinstance(label.get("value"), str)}


def _with(properties: Any, variables: Variables | None) -> Any:
    if properties is None:
        return None
    every = properties.get("labels") or []
    labels = [label for label in every if not (isinstance(label, dict) and label.get("label") == ENVIRONMENT)]
    return {**properties, "envs": variables, "labels": labels}
