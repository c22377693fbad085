"""The bucket of the backups: what it registers, which settings it takes, and that its outputs are a section of a stack file."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import bucket
from components.bucket import BackupBucket, BucketArgs
from components.settings import S3Backup
from ops.paths import ROOT
from tests.support import program
from tests.support.program import Program, Secret, plain

ACCOUNT = "4793d734c0b8e484dfc37ec392b5fa8a"
ARGS = BucketArgs(account_id=ACCOUNT, name="acme-backup", location="apac", locked_days=30)
# What a restic repository has at its top.
REPOSITORY = ("config", "data/", "index/", "keys/", "locks/", "snapshots/")


@pytest.fixture(scope="module")
def made() -> Program:
    return program.run_program(lambda: BackupBucket("bucket", ARGS).outputs, project="backup-bucket", stack="backup")


def inputs(made: Program, kind: str) -> dict[str, Any]:
    (one,) = made.of_type(f"cloudflare:index/{kind}")
    return one.inputs


def test_what_restic_never_changes_is_locked_and_what_it_removes_is_not(made: Program) -> None:
    rules = {rule["prefix"]: rule for rule in inputs(made, "r2BucketLock:R2BucketLock")["rules"]}
    assert set(REPOSITORY) - set(rules) == {"index/", "locks/"}
    assert all(rule["enabled"] for rule in rules.values())
    # Without these nothing opens, however old they are.
    assert {prefix for prefix, rule in rules.items() if rule["condition"] == {"type": "Indefinite"}} == {"config", "keys/"}
    days = {"type": "Age", "maxAgeSeconds": 30 * 86400}
    assert {prefix for prefix, rule in rules.items() if rule["condition"] == days} == {"data/", "snapshots/"}


def test_the_key_is_for_the_objects_of_one_bucket(made: Program) -> None:
    (policy,) = inputs(made, "accountToken:AccountToken")["policies"]
    assert policy["effect"] == "allow"
    assert policy["permissionGroups"] == [{"id": bucket.ITEM_WRITE}]
    assert json.loads(policy["resources"]) == {f"com.cloudflare.edge.r2.bucket.{ACCOUNT}_default_acme-backup": "*"}


def test_the_bucket_and_its_lock_are_protected_and_before_the_key(made: Program) -> None:
    protected = {one.name for one in made.registrations if one.protect}
    assert protected == {"bucket-r2", "bucket-lock"}
    (token,) = made.of_type("cloudflare:index/accountToken:AccountToken")
    assert any(urn.endswith("::bucket-lock") for urn in token.dependencies)


def test_the_outputs_are_a_section_of_a_stack_file(made: Program) -> None:
    secret = made.outputs["secret_access_key"]
    assert isinstance(secret, Secret)
    assert [name for name, value in made.outputs.items() if isinstance(value, Secret)] == ["secret_access_key"]
    section = S3Backup.model_validate({name: plain(value) for name, value in made.outputs.items()} | {"locked_days": 30})
    assert section.repository == f"s3:https://{ACCOUNT}.r2.cloudflarestorage.com/acme-backup"
    assert section.access_key_id == "id-of-bucket-key"
    assert section.secret_access_key.get_secret_value() == hashlib.sha256(b"value-of-bucket-key").hexdigest()
    assert list(section.keep_rules)[-2:] == ["--keep-within", "31d"]


@pytest.mark.parametrize(("jurisdiction", "host"), [("default", ACCOUNT), ("eu", f"{ACCOUNT}.eu")])
def test_a_jurisdiction_has_its_own_address(jurisdiction: str, host: str) -> None:
    args = BucketArgs(account_id=ACCOUNT, name="acme-backup", jurisdiction=jurisdiction)
    assert bucket.endpoint(args) == f"https://{host}.r2.cloudflarestorage.com"
    assert f".bucket.{ACCOUNT}_{jurisdiction}_acme-backup" in bucket.token_resources(args)


@pytest.mark.parametrize(
    ("changed", "key", "text"),
    [
        ({"account_id": "acme"}, "account_id", '"acme" is not the id of an account; write its 32 digits'),
        ({"name": "Acme.Backup"}, "bucket", '"Acme.Backup" is not a name of R2; write lower case'),
        ({"location": "seoul"}, "location", '"seoul" is not possible here; write one of apac,'),
        ({"jurisdiction": "kr"}, "jurisdiction", '"kr" is not possible here; write one of default,'),
        ({"locked_days": 6}, "locked_days", "6 is not possible here; write 7 to 365"),
        ({"locked_days": 366}, "locked_days", "366 is not possible here; write 7 to 365"),
    ],
)
def test_a_wrong_setting_is_named(changed: dict[str, Any], key: str, text: str) -> None:
    args = BucketArgs(**{"account_id": ACCOUNT, "name": "acme-backup", **changed})
    (found,) = bucket.problems(args).items()
    assert found[0] == key
    assert found[1].startswith(text)


def test_the_longest_and_the_shortest_lock_are_taken() -> None:
    for days in (7, 365):
        assert bucket.problems(BucketArgs(account_id=ACCOUNT, name="acme-backup", locked_days=days)) == {}


def test_the_project_names_every_setting_and_uses_this_environment() -> None:
    project = yaml.safe_load((ROOT / "backup-bucket" / "Pulumi.yaml").read_text())
    assert set(project["config"]) == {"account_id", "bucket", "location", "jurisdiction", "locked_days"}
    assert project["config"]["locked_days"]["default"] == BucketArgs(account_id=ACCOUNT, name="acme-backup").locked_days
    environment = Path(project["runtime"]["options"]["virtualenv"])
    root = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    assert (Path("backup-bucket") / environment).as_posix() == "backup-bucket/../.venv"
    assert project["requiredPulumiVersion"] == root["requiredPulumiVersion"]
