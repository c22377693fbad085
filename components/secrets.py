"""All secrets of a stack: generated, never chosen, kept in the encrypted state.

Those that cannot be re-created without losing data are protected; the others have an epoch in the stack file, and raising it
makes a new value at the next ``pulumi up``. Values are alphanumeric: a ``%`` breaks Skyvern's migrations, ``@ : /`` break URLs.
"""

import base64
import hashlib
from dataclasses import dataclass

import jwt
import pulumi
import pulumi_random as random

# A date far ahead instead of now + 100 years: the key must be the same at every plan. 2100-01-01T00:00:00Z.
API_KEY_EXPIRES = 4102444800


@dataclass(frozen=True, kw_only=True)
class StackSecretsArgs:
    """Epochs of the secrets that rotate: whole numbers from 1; a higher one makes a new secret.

    gateway_epoch, tunnel_epoch: None where the stack has no such secret. backup: whether it has the key of a repository.
    monitor: whether it has a role of the database for the monitor. metrics: whether it has a key of the metrics.
    """

    database_epoch: int
    api_key_epoch: int
    ui_login_epoch: int
    gateway_epoch: int | None = None
    tunnel_epoch: int | None = None
    backup: bool = False
    monitor: bool = False
    metrics: bool = False


def mint_api_key(*, secret_key: str, organization_id: str, jti: str) -> str:
    """An organisation's API key as Skyvern makes it: a JWT (HS256) over the organisation, here with its own id.

    Without ``jti`` every key of one organisation would be the same, and a rotation would change nothing.
    """
    return jwt.encode({"sub": organization_id, "exp": API_KEY_EXPIRES, "jti": jti}, secret_key, algorithm="HS256")


def derive_fernet_key(password: str) -> str:
    """A Fernet key (32 bytes, URL-safe base64) from a generated password.

    RandomBytes would be the obvious source, but its id is the value, and ids stand in the state in clear (seen in the provider).
    """
    return base64.urlsafe_b64encode(hashlib.sha256(password.encode()).digest()).decode()


def derive_tunnel_secret(password: str) -> str:
    """The secret of a tunnel (32 bytes, base64 with padding) from a generated password."""
    return base64.b64encode(hashlib.sha256(password.encode()).digest()).decode()


class StackSecrets(pulumi.ComponentResource):
    """Generates every secret of the stack. Keys that people bring (LLM providers) are in the stack file instead."""

    def __init__(self, name: str, args: StackSecretsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:secrets:StackSecrets", name, None, opts)

        def password(
            part: str, *, length: int = 48, epoch: int | None = None, digits_only: bool = False
        ) -> random.RandomPassword:
            return random.RandomPassword(
                f"{name}-{part}",
                length=length,
                special=False,
                upper=not digits_only,
                lower=not digits_only,
                keepers=None if epoch is None else {"epoch": str(epoch)},
                # Nothing re-creates a secret without an epoch: lost, it takes the data with it.
                opts=pulumi.ResourceOptions(parent=self, protect=epoch is None),
            )

        self.superuser_password = password("superuser").result
        self.database_password = password("database", epoch=args.database_epoch).result
        self.secret_key = password("secret-key", length=64).result

        def organization(part: str) -> pulumi.Output[str]:
            # Skyvern's own ids are o_ and a number of 18 digits; the leading 1 keeps it a number of that length.
            return pulumi.Output.unsecret(pulumi.Output.concat("o_1", password(part, length=17, digits_only=True).result))

        # Of both keys, which differ by their organisation: they rotate together.
        jti = password("api-key", length=24, epoch=args.api_key_epoch).result

        def api_key(organization_id: pulumi.Output[str]) -> pulumi.Output[str]:
            parts = pulumi.Output.all(secret_key=self.secret_key, organization_id=organization_id, jti=jti)
            minted: pulumi.Output[str] = pulumi.Output.secret(parts.apply(lambda given: mint_api_key(**given)))
            return minted

        self.organization_id = organization("organization")
        self.vault_key = password("vault-key", length=64).result.apply(derive_fernet_key)
        # Of secrets in the database besides credentials; Skyvern cannot read them with another one, so it never rotates.
        self.encryption_key = password("encryption-key", length=64).result
        self.api_key = api_key(self.organization_id)
        # Smoke runs are not the person's: a separate organisation keeps them out of the history.
        self.smoke_organization_id = organization("smoke-organization")
        self.smoke_api_key = api_key(self.smoke_organization_id)
        # With the API key: whoever has that one can make links, so a rotation ends them as well.
        self.link_key = password("artifact-links", epoch=args.api_key_epoch).result
        self.ui_password = password("ui-login", length=32, epoch=args.ui_login_epoch).result
        self.gateway_key = None if args.gateway_epoch is None else password("gateway", epoch=args.gateway_epoch).result
        self.tunnel_secret = (
            None if args.tunnel_epoch is None else password("tunnel", epoch=args.tunnel_epoch).result.apply(derive_tunnel_secret)
        )
        # Encrypts every set that was ever made, so it never rotates. A copy belongs into the recovery kit (ops backup kit).
        self.backup_key = password("backup", length=64).result if args.backup else None
        # Of the role that reads for the monitor: it rotates with that of Skyvern's.
        self.monitor_password = password("monitor", epoch=args.database_epoch).result if args.monitor else None
        # For programs, as the API key, and with it in one rotation.
        self.metrics_key = password("metrics", epoch=args.api_key_epoch).result if args.metrics else None
        self.register_outputs({"organizationId": self.organization_id})
