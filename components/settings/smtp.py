"""The section ``smtp``: the mail server that approvals are sent through."""

import re
from functools import partial
from typing import Annotated

from pydantic import Field, SecretStr

from components.settings.base import LABEL, Section, check_machine, each, given


def is_mail_address(text: str) -> bool:
    """Whether a text is one address without a name: ``approvals@example.com``."""
    return re.fullmatch(rf"[\w.+-]+@{LABEL}(\.{LABEL})+", text, re.ASCII) is not None


def _sender_problem(address: str) -> str | None:
    return None if is_mail_address(address) else "is not a mail address; write one such as approvals@example.com"


_server = partial(check_machine, whose="the mail server", kind="a server", form="scheme and port: smtp.example.com")


class SmtpSettings(Section):
    """The mail server of `human_interaction` blocks, which ask a person for an approval; without one such a block fails."""

    host: Annotated[str | None, given(_server)] = Field(
        None,
        description="The mail server, by name or address. A private one needs no entry in `server.allow`.",
        examples=["smtp.example.com"],
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(
        587, description="587 and others: STARTTLS. 465: TLS from the first byte. Without TLS nothing is sent.", examples=["465"]
    )
    username: str | None = Field(
        None, min_length=1, description="Who logs in; Skyvern always does.", examples=["approvals@example.com"]
    )
    password: SecretStr | None = Field(
        None, min_length=1, description="Password; set it with `pulumi config set --secret --path smtp.password`."
    )
    sender: Annotated[str | None, each(_sender_problem)] = Field(
        None,
        description="From whom the mails come, where a block says nothing else; `username` when left out, which then has to be "
        "an address. Skyvern's own default is an address of its vendor's, which mail servers refuse.",
        examples=["approvals@example.com"],
    )
    verify: bool = Field(
        True, description="Whether the mail server's certificate is checked. `false` gives the password to whoever answers."
    )
    internal: bool = Field(
        False,
        description="Whether `send_email` blocks with their own mail server may name a private one (ALLOW_SMTP_INTERNAL_HOSTS). "
        "The firewall still lets through only what the stack file names.",
    )
