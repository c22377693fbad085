"""The variables of a container one by one, where the provider keeps all of them as one secret. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from components.host.labels import ENVIRONMENT, parse_environment_label
from ops.preview.model import SECRET
from ops.preview.values import variable

Variables = dict[str, Any]


def with_environment(old: Any, new: Any) -> tuple[Any, Any, tuple[str, ...] | None]:
    """Both sides with ``envs`` as name -> value, where a side's label says what the provider hides; otherwise as they are.

    old, new: inputs without secrets (``readable``). A side that does not tell its variables leaves both as they are. Last comes
    what ``with_names`` needs: the names in their order, nothing where those of the sides differ; None where nothing was told.
    """
    told = [_told(one) for one in (old, new)]
    if ENVIRONMENT not in {label for one in (old, new) for label in _labels(one)} or None in told:
        return old, new, None
    orders = {tuple(one or ()) for one, side in zip(told, (old, new), strict=True) if side is not None}
    return _with(old, told[0]), _with(new, told[1]), orders.pop() if len(orders) == 1 else ()


def with_names(details: Mapping[str, Any], variables: tuple[str, ...] | None) -> dict[str, Any]:
    """The provider's details with ``envs[3]`` by the name of that variable, ``envs`` where nobody knows which one it is.

    variables: as ``with_environment`` gives them. The label is left out: it says what the variables say themselves.
    """
    if variables is None:
        return dict(details)
    named = {}
    for path, one in details.items():
        index = re.fullmatch(r"envs\[(\d+)\]", path)
        if index is not None:
            named[f"envs[{variables[int(index[1])]}]" if int(index[1]) < len(variables) else "envs"] = one
        elif not re.match(r"labels\b", path):
            named[path] = one
    return named


def with_list(properties: Any) -> Any:
    """Properties with ``envs`` as a list of ``NAME=value`` again."""
    if not isinstance(properties, dict) or not isinstance(variables := properties.get("envs"), dict):
        return properties
    return {**properties, "envs": [f"{name}={value}" for name, value in variables.items()]}


def _told(properties: Any) -> Variables | None:
    """Name -> value of the variables, ``SECRET`` for that of a secret; None where nobody can tell."""
    envs = (properties or {}).get("envs") or []
    if envs == SECRET:
        text = _labels(properties).get(ENVIRONMENT)
        variables = parse_environment_label(text) if text else None
        return variables and {name: SECRET if value is None else value for name, value in variables.items()}
    names = [variable(one) for one in envs]
    if None in names or len(set(names)) < len(names):
        return None
    return {str(name): one.partition("=")[2] for name, one in zip(names, envs, strict=True)}


def _labels(properties: Any) -> dict[str, str]:
    found = (properties or {}).get("labels")
    labels = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return {one["label"]: one["value"] for one in labels if isinstance(one.get("value"), str)}


def _with(properties: Any, variables: Variables | None) -> Any:
    if properties is None:
        return None
    labels = [one for one in properties.get("labels") or [] if not (isinstance(one, dict) and one.get("label") == ENVIRONMENT)]
    return {**properties, "envs": variables, "labels": labels}
