"""The rules, by provider and subject. Nothing in here depends on the program that it judges."""

from . import edge, random, skyvern, stack, vercel
from .cloudflare import access, bucket, firewall, token, tunnel, zone
from .cloudflare import provider as cloudflare_provider
from .docker import environment, exposure, images, limits, mounts, namespaces, privileges, services, volumes
from .docker import provider as docker_provider
from .framework.evaluation import BUILT_IN
from .framework.rule import Rule, rules_of

# In the order of COVERAGE.md.
_MODULES = (
    *(privileges, namespaces, mounts, exposure, limits, images, environment, services, volumes, docker_provider),
    random,
    *(cloudflare_provider, tunnel, zone, firewall, access, bucket, token),
    vercel,
    skyvern,
    stack,
    edge,
)
RULES: tuple[Rule, ...] = (*(rule for module in _MODULES for rule in rules_of(vars(module))), *BUILT_IN)
