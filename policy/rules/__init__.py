"""The rules, by provider. Nothing in here depends on the program that it judges."""

from . import cloudflare, docker, edge, random, stack, vercel
from .framework.evaluation import BUILT_IN
from .framework.rule import Rule, rules_of

_MODULES = (docker, random, cloudflare, vercel, stack, edge)
RULES: tuple[Rule, ...] = (*(rule for module in _MODULES for rule in rules_of(vars(module))), *BUILT_IN)
