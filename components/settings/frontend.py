"""The section ``frontend``: the UI on this host or on Vercel."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr

from components.settings.base import Label, Section, token

Language = Annotated[
    Literal["en", "ko", "browser"],
    Field(
        description="Language of the UI. `browser`: the language of each person's browser, with a switch in the corner of the "
        "page (docs/korean-ui.md).",
        examples=["ko"],
    ),
]


class GatewayFrontend(Section):
    """The UI on this host, behind the gateway: one origin for UI, API and streams."""

    provider: Literal["gateway"] = "gateway"
    language: Language = "en"


class VercelFrontend(Section):
    """The UI on Vercel, which needs `edge.provider: cloudflare`; the API and streams are separate origins (docs/vercel.md)."""

    # Variables that guides for Skyvern on Vercel set by hand.
    instead: ClassVar[Mapping[str, str]] = {
        "VITE_API_BASE_URL": "is made from edge.domain; remove it",
        "VITE_WSS_BASE_URL": "is made from edge.domain; remove it",
        "VITE_ARTIFACT_API_BASE_URL": "is made from edge.domain if frontend.artifacts is true; remove it",
        "VITE_BROWSER_STREAMING_MODE": "follows the server's own setting; remove it",
        "VITE_SKYVERN_API_KEY": "would put the organisation's key into a file that anyone can read; remove it: the UI gets a "
        "session token after its login",
        "VITE_ENVIRONMENT": "is fixed in the published UI, and the server's own is always selfhosted; remove it",
        "VITE_ENABLE_LOG_ARTIFACTS": "is fixed in the published UI; retention.logs says how long logs are kept; remove it",
        "VITE_ENABLE_CODE_BLOCK": "is fixed in the published UI; write server.code_blocks",
    }

    provider: Literal["vercel"]
    language: Language = "en"
    # The provider asks for 24 of these in a row; newer tokens have a prefix with an underscore.
    api_token: Annotated[SecretStr, token("Vercel token", r"[0-9A-Za-z_-]*[0-9A-Za-z]{24}[0-9A-Za-z_-]*")] = Field(
        min_length=24,
        max_length=200,
        description="Token of an account in the team; set it with `pulumi config set --secret --path frontend.api_token`.",
    )
    team: str = Field(
        pattern=r"^(team_[A-Za-z0-9]+|[a-z0-9]([a-z0-9-]*[a-z0-9])?)$",
        description="The team: `NAME` of vercel.com/NAME, or its id. A personal account has one, too.",
        examples=["acme"],
    )
    plan: Literal["hobby", "pro"] = Field(
        description="Plan of the team. Vercel forbids business use of `hobby`, which takes one person and no repository of an "
        "organisation, and stops a site that exceeds its traffic. `pro` costs per person and for traffic above what it includes "
        "(docs/vercel.md).",
        examples=["pro"],
    )
    non_commercial: bool = Field(
        False,
        description="With `plan: hobby`: a confirmation that this stack serves no business. Without it, `hobby` is refused.",
    )
    project: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$",
        description="Name of the project on Vercel, which must be free in the team; `skyvern-STACK` if left out.",
        examples=["skyvern-prod"],
    )
    region: str = Field(
        "icn1",
        pattern=r"^[a-z]{3}[0-9]$",
        description="Where login, session tokens and the dashboard pass: Vercel's id of the region nearest to the host.",
        examples=["hnd1", "iad1"],
    )
    vercel_app: Label = Field(
        None,
        description="Puts the UI at `NAME.vercel.app` instead of `app.` of the domain: no record, no certificate to wait for. It "
        "must be free on all of Vercel, and differ from the project's name.",
        examples=["acme-skyvern-ui"],
    )
    verification: str | None = Field(
        None,
        pattern=r"^vc-domain-verify=\S+$",
        description="If another account on Vercel holds the domain: the value of the TXT record that Vercel asks for, as "
        "`pulumi up` shows it (docs/vercel.md).",
        examples=["vc-domain-verify=app.example.com,0123456789abcdef0123"],
    )
    source: Literal["upload", "git"] = Field(
        "upload",
        description="`upload` sends the folder `site/` of this project. `git` lets Vercel fetch the same folder from "
        "`repository`, at each push as well.",
    )
    repository: str | None = Field(
        None,
        pattern=r"^[\w.-]+(/[\w.-]+)+$",
        description="With `source: git`: your own copy of this project, on which Vercel's app is installed.",
        examples=["acme/skyvern-stack"],
    )
    git_provider: Literal["github", "gitlab", "bitbucket"] = Field(
        "github", description="With `source: git`: where the repository is hosted."
    )
    branch: str = Field(
        "main",
        pattern=r"^[\w.-]+(/[\w.-]+)*$",
        description="With `source: git`: the branch whose last commit is served.",
    )
    artifacts: bool = Field(
        True,
        description="Whether there is `artifact.`, which only Vercel has a key to. Recordings and screenshots do not need it: "
        "they are signed links to `api.`.",
    )


Frontend = GatewayFrontend | VercelFrontend
