"""The rules, by provider. Nothing in here depends on the program that it judges."""

from . import docker, random, stack
from .framework.evaluation import BUILT_IN
from .framework.rule import Rule, rules_of

RULES: tuple[Rule, ...] = (*rules_of(vars(docker)), *rules_of(vars(random)), *rules_of(vars(stack)), *BUILT_IN)
