"""A web server on an address of this machine, in a thread of this process, for as long as something needs it."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """One that logs nothing: what it is asked can have a secret in it."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal either."""

    def send_whole(
        self, status: int, text: str | bytes, kind: str = "text/html; charset=utf-8", cookie: str | None = None
    ) -> None:
        """Sends a whole answer. kind: its Content-Type. cookie: to be set, with its attributes."""
        content = text.encode() if isinstance(text, str) else text
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if cookie is not None:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler], *, address: str = "127.0.0.1", port: int = 0, context: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Gives the port. port: 0 for any that is free. context: for TLS."""
    with ThreadingHTTPServer((address, port), handler) as server:
        server.daemon_threads = True
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
