"""The section ``storage``: where the files of runs are kept."""

from functools import partial
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from components import addresses
from components.settings.base import Section, given, redacted, split_url

# Of every service that speaks S3's protocol; each section describes its own.
Region = Annotated[str, Field(pattern=r"^[a-z0-9-]{2,32}$")]
AccessKeyId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{3,128}$")]
SecretAccessKey = Annotated[SecretStr, Field(min_length=8, max_length=256)]


def check_endpoint(value: str, where: str) -> str:
    """The address of such a service. where: where a bucket's name is written instead, as ``the bucket's name in KEY``."""
    parts = split_url(value, "https://ACCOUNT.r2.cloudflarestorage.com", login="would be stored in plain text")
    if parts.query or parts.fragment:
        raise redacted("has a query string, which would be stored in plain text; remove it")
    if parts.path.strip("/"):
        raise ValueError(f"has a path; write the address alone, and {where}")
    address = addresses.network(parts.hostname or "")
    if parts.scheme == "http" and address is not None and not addresses.is_private(address):
        raise ValueError("is on the internet without encryption; write https")
    return value.rstrip("/")


class LocalStorage(Section):
    """Volumes of the Docker host."""

    type: Literal["local"] = "local"


class S3Storage(Section):
    """Private buckets of Amazon S3, Cloudflare R2, MinIO or another service that speaks S3's protocol (docs/storage.md)."""

    type: Literal["s3"]
    endpoint: Annotated[str | None, given(partial(check_endpoint, where="the buckets' names in storage.buckets"))] = Field(
        None,
        description="Address of the service, without a bucket; left out, Amazon's of the region. Only the server asks it, so it "
        "may be private, and the firewall lets the server reach it.",
        examples=["https://ACCOUNT.r2.cloudflarestorage.com"],
    )
    region: Region = Field(
        "us-east-1",
        description="Region of the buckets: Amazon's name of it; `auto` for R2; for others, mostly the default.",
        examples=["ap-northeast-2", "auto"],
    )
    buckets: str = Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?$",
        description="First part of the names of four buckets that exist: `NAME-artifacts`, `NAME-browser-sessions`, "
        "`NAME-screenshots` and `NAME-uploads`.",
        examples=["acme-skyvern"],
    )
    access_key_id: AccessKeyId = Field(
        description="Id of a key that may read, write, list and delete in these buckets and nothing else: whoever may start "
        "workflows can use it.",
        examples=["AKIAIOSFODNN7EXAMPLE"],
    )
    secret_access_key: SecretAccessKey = Field(
        description="Its secret; set it with `pulumi config set --secret --path storage.secret_access_key`."
    )

    def bucket(self, part: str) -> str:
        """Name of a bucket: artifacts, browser-sessions, screenshots or uploads."""
        return f"{self.buckets}-{part}"


Storage = LocalStorage | S3Storage
