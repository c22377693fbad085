"""A throw-away authority and its certificates, made with the openssl command."""

import ssl
from pathlib import Path

from ops.clients import process

_DAYS = "30"


class Authority:
    """An authority with a folder; ``ca.pem`` is for clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self._contexts: dict[str, ssl.SSLContext] = {}
        if not self.certificate.exists():
            _openssl(
                *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", _DAYS),
                *("-subj", "/CN=Skyvern rehearsal", "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0"),
                *("-addext", "keyUsage=critical,keyCertSign", "-keyout", folder / "ca.key", "-out", self.certificate),
            )

    def context(self, domain: str) -> ssl.SSLContext:
        """A certificate of a domain and its hosts, one label deep, as Cloudflare's free certificate."""
        if domain not in self._contexts:
            key, request, certificate = (self.folder / f"{domain}.{kind}" for kind in ("key", "csr", "pem"))
            _openssl(
                *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={domain}"),
                *("-addext", f"subjectAltName=DNS:{domain},DNS:*.{domain}", "-addext", "extendedKeyUsage=serverAuth"),
                *("-keyout", key, "-out", request),
            )
            _openssl(
                *("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.folder / "ca.key", "-CAcreateserial"),
                *("-days", _DAYS, "-copy_extensions", "copyall", "-out", certificate),
            )
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            # The zone's own minimum is applied after the handshake, when the zone is known.
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(certificate, key)
            self._contexts[domain] = context
        return self._contexts[domain]


def _openssl(*arguments: str | Path) -> None:
    process.capture(["openssl", *arguments])
