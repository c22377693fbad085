"""What a UI elsewhere needs in the domain's zone; between the frontend that knows it and the edge that writes it."""

from dataclasses import dataclass

import pulumi


@dataclass(frozen=True, kw_only=True)
class UiRecord:
    """The CNAME of ``app.``.

    target: a host name without a dot at its end. verification: content of the TXT record at ``_vercel.``, where one was asked
    for. after: what has to answer before the name leads there.
    """

    target: pulumi.Input[str]
    verification: str | None
    after: pulumi.Resource
