"""The section ``backup``: whether and where sets of the database and the files are kept."""

from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from components.settings.base import ENCRYPTED, Section, check_folder, check_machine, given
from components.settings.storage import AccessKeyId, Region, SecretAccessKey, check_endpoint

Hours = Annotated[int, Field(ge=1, le=8760)]
Count = Annotated[int, Field(ge=0, le=1000)]


class NoBackup(Section):
    """No backup."""

    type: Literal["none"] = "none"


class _Backup(Section):
    """What all places have in common."""

    every_hours: Hours = Field(
        1, description="Hours between two sets. A machine that was off or asleep makes up for it within a quarter of an hour."
    )
    max_age_hours: Hours = Field(
        26,
        description="Age in hours at which the newest set is too old: the container is unhealthy, and `ops doctor` reports an "
        "error.",
    )
    drill_every_days: Annotated[int, Field(ge=0, le=92)] = Field(
        0,
        description="Days between two drills that the backup makes by itself: the newest set is restored into a database and "
        "folders inside its container, compared with its record and removed again, which takes as much disk as the data for a "
        "while. 0: none.",
        examples=[7],
    )
    drilled: str | None = Field(
        None,
        pattern=r"^\d{4}-\d{2}-\d{2}$",
        description="Day of the last drill with Skyvern that passed, as `ops drill --record` writes it. The policy "
        "`stack-restore-drilled` reads it.",
        examples=["2026-11-28"],
    )
    keep_hourly: Count = Field(24, description="How many hours keep their last set.")
    keep_daily: Count = Field(14, description="How many days keep their last set.")
    keep_weekly: Count = Field(8, description="How many weeks keep their last set.")
    keep_monthly: Count = Field(12, description="How many months keep their last set.")

    @field_validator("drilled", mode="before")
    @classmethod
    def _day(cls, value: object) -> object:
        # Without quotation marks it is a day of YAML, which Pulumi hands on as midnight.
        return value.isoformat() if isinstance(value, date) else str(value).removesuffix("T00:00:00Z") if value else value

    @property
    def keep_rules(self) -> Sequence[str]:
        """As restic's arguments; the newest set is kept whatever they say."""
        counts = {
            "hourly": self.keep_hourly,
            "daily": self.keep_daily,
            "weekly": self.keep_weekly,
            "monthly": self.keep_monthly,
        }
        kept = [part for name, count in counts.items() if count for part in (f"--keep-{name}", str(count))]
        return ("--keep-last", "1", *kept)


class PathBackup(_Backup):
    """A folder of the Docker host: another disk, a drive of Windows under WSL (/mnt/d), a mounted network share."""

    type: Literal["path"]
    path: Annotated[str, given(partial(check_folder, example="/mnt/d/skyvern-backup"))] = Field(
        description="The folder. It has to exist, and to belong to user 10001; an empty one that is not usable is given to that "
        "user by script/up. Only /var/backups/skyvern-STACK is made by script/up. On the disk that also has Docker's data it "
        "protects against mistakes alone, not against the loss of the disk.",
        examples=["/mnt/d/skyvern-backup"],
    )


_machine = partial(check_machine, whose="the machine", kind="a machine", form="user and port: nas.example.com")


class SftpBackup(_Backup):
    """A folder of another machine, over SSH."""

    type: Literal["sftp"]
    host: Annotated[str, given(_machine)] = Field(
        description="The machine, by name or address. A private one needs no entry in a list `allow`: the firewall lets the "
        "backup reach it, and it alone.",
        examples=["nas.example.com"],
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(22, description="Its port of SSH.")
    user: str = Field(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$", description="Who logs in.", examples=["backup"])
    path: str = Field(
        pattern=r"^/?[A-Za-z0-9_.][A-Za-z0-9_./-]*$",
        description="The folder there; without a leading slash it is below the home of the user.",
        examples=["skyvern"],
    )
    known_host: str = Field(
        pattern=r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/=]+$",
        description="The machine's public key, so that no other one is given the backup: type and key as `ssh-keyscan` "
        "prints them.",
        examples=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI..."],
    )
    private_key: Annotated[SecretStr, Field(min_length=len(ENCRYPTED), max_length=8192)] = Field(
        description="The key to log in with, without a passphrase; set it with "
        "`pulumi config set --secret --path backup.private_key < FILE`."
    )

    @property
    def known_hosts(self) -> str:
        """The machine's key as a line of ssh's file."""
        return f"{self.host if self.port == 22 else f'[{self.host}]:{self.port}'} {self.known_host}"

    @property
    def repository(self) -> str:
        """As restic writes it."""
        return f"sftp:{self.user}@{self.host}:{self.path}"


class S3Backup(_Backup):
    """A bucket of Amazon S3, Cloudflare R2, MinIO or another service that speaks S3's protocol."""

    type: Literal["s3"]
    endpoint: Annotated[str | None, given(partial(check_endpoint, where="the bucket's name in backup.bucket"))] = Field(
        None,
        description="Address of the service, without a bucket; left out, Amazon's of the region. It may be private: the firewall "
        "lets the backup reach it.",
        examples=["https://ACCOUNT.r2.cloudflarestorage.com"],
    )
    region: Region = Field(
        "us-east-1",
        description="Region of the bucket: Amazon's name of it; `auto` for R2; for others, mostly the default.",
        examples=["ap-northeast-2", "auto"],
    )
    bucket: str = Field(
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        description="Name of the bucket, which exists and is not one of `storage`.",
        examples=["acme-skyvern-backup"],
    )
    folder: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_./-]*$",
        description="Folder in the bucket, so that several stacks share one; left out, the bucket itself.",
        examples=["prod"],
    )
    access_key_id: AccessKeyId = Field(
        description="Id of a key that may read, write, list and delete in this bucket and nothing else.",
        examples=["AKIAIOSFODNN7EXAMPLE"],
    )
    secret_access_key: SecretAccessKey = Field(
        description="Its secret; set it with `pulumi config set --secret --path backup.secret_access_key`."
    )

    locked_days: Annotated[int, Field(ge=0, le=365)] = Field(
        0,
        description="Days for which the bucket refuses to delete what the backup has written, as `backup-bucket/` sets it. Every "
        "set is kept for a day longer, whatever the keep rules say: what is locked cannot be removed. Not with `folder`.",
        examples=[30],
    )

    @field_validator("locked_days")
    @classmethod
    def _covers_the_repository(cls, value: int, others: ValidationInfo) -> int:
        if value and others.data.get("folder"):
            raise ValueError("is for a repository without a folder; remove backup.folder, and give each stack its bucket")
        return value

    @property
    def keep_rules(self) -> Sequence[str]:
        """As above, and nothing that is locked: restic tries for a quarter of an hour to delete what it may not, and fails."""
        return (*super().keep_rules, *(("--keep-within", f"{self.locked_days + 1}d") if self.locked_days else ()))

    @property
    def repository(self) -> str:
        """As restic writes it."""
        service = self.endpoint or f"https://s3.{self.region}.amazonaws.com"
        return "/".join(filter(None, (f"s3:{service}", self.bucket, (self.folder or "").strip("/"))))


RemoteBackup = SftpBackup | S3Backup
SomeBackup = PathBackup | SftpBackup | S3Backup
Backup = NoBackup | PathBackup | SftpBackup | S3Backup
