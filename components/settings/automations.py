"""The section ``automations``: which files of automations/ the stack runs, and the credentials that they name."""

import re
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from components.settings.base import Section, given, secret, split_url

FOLDER = "automations"
# Of a file without its ending, of a schedule and of a credential.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?")
# The longest that the server takes; upstream's example has 16 characters, which it refuses (Skyvern 1.0.56).
_LEAST_TOTP = 26


def _site(url: str) -> str:
    split_url(url, "https://example.com/login", login="is kept in username and password")
    return url


def _check_totp(text: str) -> None:
    if not text.startswith("otpauth://") and len(text.replace(" ", "")) < _LEAST_TOTP:
        raise ValueError("is too short for an authenticator key; write the key that the site showed, or its otpauth:// address")


class CredentialSettings(Section):
    """A credential by the name that automation files call it."""

    type: Literal["password", "credit_card", "secret"] = "password"
    tested_url: Annotated[str | None, given(_site)] = Field(
        None,
        description="Its site; Skyvern types it nowhere else. Required for a password.",
        examples=["https://nid.naver.com/nidlogin.login"],
    )
    username: str | None = Field(None, min_length=1)
    password: SecretStr | None = Field(None, min_length=1)
    totp: Annotated[SecretStr | None, Field(min_length=1), secret(_check_totp)] = None
    card_number: SecretStr | None = Field(None, min_length=1)
    card_cvv: SecretStr | None = Field(None, min_length=1)
    card_exp_month: str | None = Field(None, pattern=r"^(0[1-9]|1[0-2])$")
    card_exp_year: str | None = Field(None, pattern=r"^20\d\d$")
    card_brand: str | None = Field(None, min_length=1)
    card_holder_name: str | None = Field(None, min_length=1)
    secret_value: SecretStr | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _fields_of_its_type(self) -> "CredentialSettings":
        needed = REQUIRED[self.type]
        allowed = {*needed, "type", "tested_url", *(["totp"] if self.type == "password" else [])}
        for key in sorted(needed):
            if getattr(self, key) is None:
                raise ValueError(f"has no {key}, which a credential of type {self.type} needs; write it")
        for key in type(self).model_fields:
            if key not in allowed and getattr(self, key) is not None:
                raise ValueError(f"has {key}, which a credential of type {self.type} does not have; remove it")
        return self

    def values(self) -> dict[str, str]:
        """Skyvern's fields of its type, in plain text."""
        given = {key: getattr(self, key) for key in type(self).model_fields if key not in {"type", "tested_url"}}
        values = {
            key: value.get_secret_value() if isinstance(value, SecretStr) else value
            for key, value in given.items()
            if value is not None
        }
        return {**values, "totp_type": "authenticator"} if "totp" in values else values


REQUIRED: dict[str, frozenset[str]] = {
    "password": frozenset({"tested_url", "username", "password"}),
    "credit_card": frozenset({"card_number", "card_cvv", "card_exp_month", "card_exp_year", "card_brand", "card_holder_name"}),
    "secret": frozenset({"secret_value"}),
}


class AutomationSettings(Section):
    """Workflows, schedules and credentials from the files in `automations/` (docs/automations.md); nothing without `files`."""

    files: list[str] = Field(
        [], description="The files, without folder and ending; each is a workflow.", examples=["[daily-csv, naver-blog-draft]"]
    )
    on_ui_edit: Literal["keep", "overwrite", "adopt"] = Field(
        "keep",
        description="What happens to a workflow or a schedule that was edited in the UI. `keep`: it stays, and a change of its "
        "file is refused. `overwrite`: the file is applied again. `adopt`: it stays until its file changes.",
    )
    credentials: dict[Annotated[str, Field(pattern=rf"^{NAME.pattern}$")], CredentialSettings] = Field(
        {},
        description="Credentials by name: `type` (`password`, `credit_card` or `secret`), `tested_url`, and the fields of the "
        "type; set each secret with `pulumi config set --secret --path automations.credentials.NAME.password`.",
    )

    @field_validator("files")
    @classmethod
    def _names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a name; write that of automations/NAME.yaml: lower case, digits and hyphens")
            if value.count(name) > 1:
                raise ValueError(f"{name!r} is written twice; remove one")
        return value
