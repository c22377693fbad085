"""A mail server that takes what is sent to it, behind TLS and a login."""

import base64
import email
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message

from lab.standins.edge.certificates import Authority


@dataclass
class MailServer:
    """port: where it listens, on every address. logins: user and password of each.

    commands: lines of the sessions but DATA's. messages: as they came; raw: the same, byte by byte.
    """

    port: int = 0
    logins: list[tuple[str, str]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)


@contextmanager
def serving(authority: Authority, domain: str, *, port: int = 0, from_the_start: bool = False) -> Iterator[MailServer]:
    """A server with a certificate for the domain's hosts. from_the_start: TLS at once and not by STARTTLS."""
    box = MailServer()
    context = authority.context(domain)

    class Session(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            # A client that does not accept the certificate goes away.
            with suppress(OSError, ValueError):
                self.talk()

        def talk(self) -> None:
            connection = context.wrap_socket(self.request, server_side=True) if from_the_start else self.request
            encrypted = from_the_start
            lines = connection.makefile("rb")
            connection.sendall(b"220 ready\r\n")
            while line := lines.readline().strip():
                box.commands.append(line.decode())
                verb = line.split()[0].upper()
                if verb == b"EHLO":
                    offer = b"AUTH PLAIN" if encrypted else b"STARTTLS"
                    connection.sendall(b"250-here\r\n250 " + offer + b"\r\n")
                elif verb == b"STARTTLS":
                    connection.sendall(b"220 go\r\n")
                    connection = context.wrap_socket(connection, server_side=True)
                    lines, encrypted = connection.makefile("rb"), True
                elif verb == b"AUTH":
                    _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
                    box.logins.append((user, password))
                    connection.sendall(b"235 welcome\r\n")
                elif verb == b"DATA":
                    connection.sendall(b"354 go\r\n")
                    # A dot before a dot is the protocol's (RFC 5321 4.5.2).
                    text = b"".join(one.removeprefix(b".") for one in iter(lines.readline, b".\r\n"))
                    box.raw.append(text)
                    box.messages.append(email.message_from_bytes(text))
                    connection.sendall(b"250 taken\r\n")
                elif verb == b"QUIT":
                    connection.sendall(b"221 bye\r\n")
                    return
                else:
                    connection.sendall(b"250 fine\r\n")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("0.0.0.0", port), Session) as server:  # noqa: S104
        box.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield box
        finally:
            server.shutdown()
