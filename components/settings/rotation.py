"""The sections about changes to a running stack: the secrets that rotate, and the commits that may be deployed."""

from typing import Annotated

from pydantic import Field

from components.settings.base import Section

Epoch = Annotated[int, Field(ge=1)]


class RotationSettings(Section):
    """Epochs of the secrets that rotate: a number that goes up makes a new secret at the next `pulumi up`."""

    database: Epoch = Field(1, description="Password of the role that Skyvern logs in to PostgreSQL with.")
    api_key: Epoch = Field(1, description="The organisation's API key; the old one is refused afterwards.")
    ui_login: Epoch = Field(1, description="Password of the UI.")
    gateway: Epoch = Field(
        1, description="Key by which Vercel's middleware and the gateway know each other; only with `frontend.provider: vercel`."
    )
    tunnel: Epoch = Field(1, description="Secret of the Cloudflare Tunnel; only with `edge.provider: cloudflare`.")


class DeploymentSettings(Section):
    """Which commits `script/up`, `ops apply`, `ops rotate` and `ops upgrade-database` may deploy. The program ignores it."""

    only_from_main: bool | None = Field(
        None,
        description="Refuse a checkout with changes, and a commit that is not on `main`. Left out, only the stack `prod` does.",
        examples=["true"],
    )
