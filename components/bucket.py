"""The bucket of the backups as code: at Cloudflare R2, with a lock and a key for it alone. The stack in backup-bucket/ has it.

Pure functions make the rules of the lock and the rights of the key; the component only registers. Not here: the repository in the
bucket (host/backup.py), and how often sets are made and removed (settings/backup.py).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from components.cloudflare_sdk import cloudflare
from components.settings import mistake

LOCATIONS = ("apac", "eeur", "enam", "oc", "weur", "wnam")
JURISDICTIONS = ("default", "eu", "fedramp")
DAYS = range(7, 366)
DAY_SECONDS = 24 * 60 * 60

# Prefixes in the bucket, as restic lays a repository out. What opens a repository is never removed while it is used, and without
# it all sets are lost; packs and snapshots go when the keep rules say so. Not locked: index/ and locks/, which restic removes
# whenever it has written others.
LOCKED_FOR_EVER = ("config", "keys/")
LOCKED_FOR_DAYS = ("data/", "snapshots/")

# "Workers R2 Storage Bucket Item Write": reads, lists, writes and deletes objects, and may change neither bucket nor lock.
# Every account has it under this id, as programs of others show; it is not looked up, because a plan makes no calls for it.
ITEM_WRITE = "2efd5506f9c8494dacb1fa10a3e7d5b6"


@dataclass(frozen=True, kw_only=True)
class BucketArgs:
    """What the bucket needs; the keys of Pulumi.yaml in backup-bucket/ describe each.

    location: None lets Cloudflare choose.
    """

    account_id: str
    name: str
    location: str | None = None
    jurisdiction: str = "default"
    locked_days: int = 14


def load() -> BucketArgs:
    """The arguments in the stack file; SettingsError with one line when one is wrong."""
    config = pulumi.Config()
    args = BucketArgs(
        account_id=config.require("account_id"),
        name=config.require("bucket"),
        location=config.get("location") or None,
        jurisdiction=config.get("jurisdiction") or "default",
        locked_days=config.get_int("locked_days") or 0,
    )
    for key, problem in problems(args).items():
        raise mistake(key, problem)
    return args


def problems(args: BucketArgs) -> Mapping[str, str]:
    """What is wrong, by the key in the stack file."""
    found = {}
    if not re.fullmatch(r"[0-9a-f]{32}", args.account_id):
        found["account_id"] = f"{json.dumps(args.account_id)} is not the id of an account; write its 32 digits and letters a to f"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", args.name):
        found["bucket"] = f"{json.dumps(args.name)} is not a name of R2; write lower case, digits and -, for example acme-backup"
    if args.location is not None and args.location not in LOCATIONS:
        found["location"] = f"{json.dumps(args.location)} is not possible here; write one of {', '.join(LOCATIONS)}"
    if args.jurisdiction not in JURISDICTIONS:
        found["jurisdiction"] = f"{json.dumps(args.jurisdiction)} is not possible here; write one of {', '.join(JURISDICTIONS)}"
    if args.locked_days not in DAYS:
        found["locked_days"] = f"{args.locked_days} is not possible here; write {DAYS[0]} to {DAYS[-1]}"
    return found


def lock_rules(days: int) -> list[cloudflare.R2BucketLockRuleArgs]:
    """The rules of the lock, one for each prefix."""
    for_days = cloudflare.R2BucketLockRuleConditionArgs(type="Age", max_age_seconds=days * DAY_SECONDS)
    for_ever = cloudflare.R2BucketLockRuleConditionArgs(type="Indefinite")
    conditions = {**dict.fromkeys(LOCKED_FOR_EVER, for_ever), **dict.fromkeys(LOCKED_FOR_DAYS, for_days)}
    return [
        cloudflare.R2BucketLockRuleArgs(id=f"restic-{prefix.rstrip('/')}", enabled=True, prefix=prefix, condition=condition)
        for prefix, condition in sorted(conditions.items())
    ]


def token_resources(args: BucketArgs) -> str:
    """The one bucket as the resource of a token, as JSON."""
    return json.dumps({f"com.cloudflare.edge.r2.bucket.{args.account_id}_{args.jurisdiction}_{args.name}": "*"})


def secret_access_key(token: str) -> str:
    """The secret of S3's protocol that belongs to a token; the id of the token is the key's id (Cloudflare's documents of R2)."""
    return hashlib.sha256(token.encode()).hexdigest()


def endpoint(args: BucketArgs) -> str:
    """The address of S3's protocol; each jurisdiction has another."""
    part = "" if args.jurisdiction == "default" else f"{args.jurisdiction}."
    return f"https://{args.account_id}.{part}r2.cloudflarestorage.com"


class BackupBucket(pulumi.ComponentResource):
    """A locked bucket and a key for it. ``outputs``: the keys of a stack's section ``backup`` with ``type: s3``.

    The provider is the engine's default one, with the token of the shell: whoever may change the lock is not on the host.
    """

    outputs: Mapping[str, Any]

    def __init__(self, name: str, args: BucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:bucket:BackupBucket", name, None, opts)
        bucket = cloudflare.R2Bucket(
            f"{name}-r2",
            account_id=args.account_id,
            name=args.name,
            location=args.location,
            jurisdiction=args.jurisdiction,
            # Its objects are what is left when everything else is gone.
            opts=pulumi.ResourceOptions(parent=self, protect=True),
        )
        lock = cloudflare.R2BucketLock(
            f"{name}-lock",
            account_id=args.account_id,
            bucket_name=bucket.name,
            jurisdiction=args.jurisdiction,
            rules=lock_rules(args.locked_days),
            opts=pulumi.ResourceOptions(parent=self, protect=True),
        )
        token = cloudflare.AccountToken(
            f"{name}-key",
            account_id=args.account_id,
            name=f"{args.name} (backup)",
            policies=[
                cloudflare.AccountTokenPolicyArgs(
                    effect="allow",
                    permission_groups=[cloudflare.AccountTokenPolicyPermissionGroupArgs(id=ITEM_WRITE)],
                    resources=token_resources(args),
                )
            ],
            # Nothing is written before the lock is there.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[lock]),
        )
        self.outputs = {
            "type": "s3",
            "endpoint": endpoint(args),
            "region": "auto",
            "bucket": bucket.name,
            "access_key_id": token.id,
            "secret_access_key": pulumi.Output.secret(token.value.apply(secret_access_key)),
            "locked_days": args.locked_days,
        }
        self.register_outputs(dict(self.outputs))
