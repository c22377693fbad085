"""levels.yaml: how strict each rule is in each stack, what it accepts, and what is exempted until when."""

import datetime
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, cast, get_args

import yaml

from .rule import Rule

Level = Literal["advisory", "mandatory", "disabled"]
# Types of parameters, as a message names them.
_TYPES = {bool: "true or false", dict: "a mapping", int: "a whole number", list: "a list"}
_EXEMPTION_KEYS = {"stack", "rule", "resource", "reason", "expires"}


class LevelsError(Exception):
    """Mistakes in the file, one line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True, kw_only=True)
class Exemption:
    """An exemption from a rule. resource: a glob over URNs. expires: the last day on which it holds."""

    stack: str
    rule: str
    resource: str
    reason: str
    expires: datetime.date

    def covers(self, rule: str, urn: str) -> bool:
        """Whether it is about this rule and this resource, whatever the day."""
        return rule == self.rule and urn.startswith(f"urn:pulumi:{self.stack}::") and fnmatchcase(urn, self.resource)

    def __str__(self) -> str:
        return f"{self.rule} on {self.resource}"


@dataclass(frozen=True, kw_only=True)
class Levels:
    """The content of levels.yaml. A rule or a stack that it does not name gets ``default``."""

    default: Level = "mandatory"
    rules: Mapping[str, Level] = field(default_factory=dict)
    stacks: Mapping[str, Mapping[str, Level]] = field(default_factory=dict)
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    exemptions: tuple[Exemption, ...] = ()

    def level(self, stack: str, rule: str) -> Level:
        """The level of a rule in a stack: the stack's, else the rule's, else the default."""
        return self.stacks.get(stack, {}).get(rule) or self.rules.get(rule) or self.default

    def parameters_of(self, rule: Rule) -> Mapping[str, Any]:
        """The rule's parameters, with its defaults where the file sets none."""
        return {**rule.parameters, **self.parameters.get(rule.name, {})}


def parse(text: str, rules: Iterable[Rule], *, file: str = "levels.yaml") -> Levels:
    """Levels from the text of the file; LevelsError with a line for each mistake."""
    try:
        raw = yaml.safe_load(text) or {}
    except yaml.YAMLError as broken:
        mark = getattr(broken, "problem_mark", None)
        raise LevelsError([f"{file}: line {mark.line + 1 if mark else 1}: is not valid YAML; correct the line"]) from None
    reader = _Reader(file, {rule.name: rule for rule in rules})
    levels = reader.levels(raw)
    if reader.mistakes:
        raise LevelsError([f"{file}: {mistake}" for mistake in reader.mistakes])
    return levels


class _Reader:
    def __init__(self, file: str, known: Mapping[str, Rule]) -> None:
        self.file = file
        self.known = known
        self.mistakes: list[str] = []

    def levels(self, raw: Any) -> Levels:
        sections = self._mapping("the file", raw)
        for name in sections:
            if name not in {"default", "rules", "stacks", "parameters", "exemptions"}:
                self.mistakes.append(f"{name}: is not a key; known are default, rules, stacks, parameters, exemptions")
        return Levels(
            default=self._level("default", sections.get("default", "mandatory")),
            rules=self._by_rule("rules", sections.get("rules")),
            stacks={
                str(stack): self._by_rule(f"stacks.{stack}", levels)
                for stack, levels in self._mapping("stacks", sections.get("stacks")).items()
            },
            parameters={
                rule: self._parameters(rule, values)
                for rule, values in self._mapping("parameters", sections.get("parameters")).items()
                if self._rule(f"parameters.{rule}", rule)
            },
            exemptions=self._exemptions(sections.get("exemptions") or []),
        )

    def _mapping(self, path: str, value: Any) -> Mapping[str, Any]:
        if value is None or isinstance(value, dict):
            return value or {}
        self.mistakes.append(f"{path}: is not a mapping; write keys below it")
        return {}

    def _rule(self, path: str, name: str) -> bool:
        if name in self.known:
            return True
        near = difflib.get_close_matches(name, sorted(self.known), n=1)
        self.mistakes.append(f"{path}: is not a rule; " + (f"write {near[0]}" if near else "COVERAGE.md lists them"))
        return False

    def _level(self, path: str, value: Any) -> Level:
        if value in get_args(Level):
            return cast(Level, value)
        self.mistakes.append(f"{path}: is not a level; write one of {', '.join(get_args(Level))}")
        return "mandatory"

    def _by_rule(self, path: str, raw: Any) -> Mapping[str, Level]:
        return {
            rule: self._level(f"{path}.{rule}", level)
            for rule, level in self._mapping(path, raw).items()
            if self._rule(f"{path}.{rule}", rule)
        }

    def _parameters(self, rule: str, raw: Any) -> Mapping[str, Any]:
        values = self._mapping(f"parameters.{rule}", raw)
        known = self.known[rule].parameters
        for name, value in values.items():
            if name not in known:
                self.mistakes.append(f"parameters.{rule}.{name}: is not a parameter; known are {', '.join(known) or 'none'}")
            elif type(value) is not type(known[name]):
                self.mistakes.append(f"parameters.{rule}.{name}: has another type; write {_TYPES[type(known[name])]}")
        return values

    def _exemptions(self, raw: Any) -> tuple[Exemption, ...]:
        if not isinstance(raw, list):
            self.mistakes.append("exemptions: is not a list; write one exemption per item")
            return ()
        exemptions = []
        for index, item in enumerate(raw):
            path = f"exemptions[{index}]"
            values = self._mapping(path, item)
            wrong = sorted(set(values) ^ _EXEMPTION_KEYS)
            if wrong:
                self.mistakes.append(f"{path}: {', '.join(wrong)}: write exactly {', '.join(sorted(_EXEMPTION_KEYS))}")
            elif type(values["expires"]) is not datetime.date:
                self.mistakes.append(f"{path}.expires: is not a date; write it as 2027-01-31")
            elif not str(values["reason"]).strip():
                self.mistakes.append(f"{path}.reason: is empty; write why, for the readers of the report")
            elif self._rule(f"{path}.rule", values["rule"]):
                exemptions.append(Exemption(**{**values, "stack": str(values["stack"]), "resource": str(values["resource"])}))
        return tuple(exemptions)
