"""Buckets of R2 that are written once, and their locks."""

from collections.abc import Iterator

from ..framework.rule import Finding, Findings, Parameters, Resource, Stack, matches, rule, stack_rule
from ..framework.values import Inputs
from . import BUCKET, BUCKET_LOCK, DOCS

_LOCKS = DOCS + "r2/buckets/bucket-locks/"
_DAY_SECONDS = 24 * 60 * 60


@rule(
    BUCKET,
    "cloudflare-bucket-protected",
    "options.protect",
    description="A bucket is protected",
    severity="high",
    remediation="Set protect=True in the bucket's ResourceOptions.",
    url="https://www.pulumi.com/docs/iac/concepts/resources/options/protect/",
)
def bucket_protected(bucket: Resource, parameters: Parameters) -> Findings:
    if not bucket.protect:
        yield Finding(path="options.protect", why="a destroy or a replacement would delete its objects", write="protect=True")


def _prefixes(rules: Iterator[tuple[str, Inputs]]) -> list[str]:
    """The prefixes of what is locked; without one, a rule is for all objects."""
    return [str(rule_.get("prefix", "")) for _, rule_ in rules if rule_.get("enabled", False)]


@rule(
    BUCKET_LOCK,
    "cloudflare-bucket-lock-lasting",
    "rules",
    description="A rule of a bucket's lock is on, and each object is locked for a week or more from its own upload on",
    severity="high",
    remediation='Set enabled=True, and a condition with type="Age" and max_age_seconds of 604800 or more, or type="Indefinite".',
    url=_LOCKS,
    parameters={"days": 7},
)
def bucket_lock_lasting(lock: Resource, parameters: Parameters) -> Findings:
    days = parameters["days"]
    for path, rule_ in lock.inputs.each("rules"):
        if not rule_.get("enabled", False):
            yield Finding(path=f"{path}.enabled", why="it reads as if it locked something", write="enabled=True")
        condition = rule_.section("condition")
        kind = condition.get("type")
        if kind != "Indefinite" and (kind != "Age" or condition.get("maxAgeSeconds", 0) < days * _DAY_SECONDS):
            why = "what an intruder deletes is gone before anyone has looked"
            yield Finding(path=f"{path}.condition", why=why, write=f'"Age" of {days} days or more, or "Indefinite"')


@rule(
    BUCKET_LOCK,
    "cloudflare-bucket-lock-append-only",
    "rules",
    description="A bucket's lock covers what is written once, and nothing that has to be deleted; levels.yaml names both",
    severity="high",
    remediation="Write a rule for each prefix that levels.yaml names as locked, and none that covers a free one.",
    url=_LOCKS,
    parameters={"locked": [""], "free": []},
)
def bucket_lock_append_only(lock: Resource, parameters: Parameters) -> Findings:
    prefixes = _prefixes(("", rule_) for rule_ in lock.inputs.whole("rules"))
    for wanted in parameters["locked"]:
        if not any(wanted.startswith(prefix) for prefix in prefixes):
            write = f'a rule with prefix="{wanted}"'
            yield Finding(path="rules", why="whoever has the key deletes what no rule covers", write=write)
    for path, rule_ in lock.inputs.each("rules"):
        prefix = str(rule_.get("prefix", ""))
        if any(free.startswith(prefix) or prefix.startswith(free) for free in parameters["free"]):
            yield Finding(path=f"{path}.prefix", why="it locks what the backup has to delete", write="no rule for it")


@stack_rule(
    "stack-bucket-locked",
    "name",
    description="A bucket has a lock, unless levels.yaml says that its objects may be deleted",
    severity="high",
    remediation="Declare an R2BucketLock with the bucket's name, or name the bucket in levels.yaml.",
    url=_LOCKS,
    parameters={"deletable": []},
)
def bucket_locked(stack: Stack, parameters: Parameters) -> Findings:
    buckets = [bucket for bucket in stack.of_type(BUCKET) if not matches(bucket.name, parameters["deletable"])]
    locked = {str(lock.inputs.get("bucketName", "")) for lock in stack.of_type(BUCKET_LOCK)} if buckets else set()
    for bucket in buckets:
        if bucket.inputs.get("name") not in locked:
            why = "whoever has a key of it deletes everything in it"
            yield bucket.finding("R2BucketLock", why=why, write="an R2BucketLock with its name")
