"""A module of Skyvern's ADDITIONAL_MODULES: mails of human_interaction blocks leave over verified TLS, from the stack's address.

Skyvern 1.0.56 (forge/sdk/api/email.py) sends the mail server's password after STARTTLS without looking at the certificate, so
whoever answers gets it; knows no TLS from the first byte (port 465, the only one of some providers); and sends from
hello@skyvern.com unless a block says otherwise, which the UI does not offer and mail servers refuse. Look at it again with the
Skyvern after 1.0.56.
Not here: send_email blocks with another mail server, which verify it.
"""

import inspect
import os
import smtplib
import ssl
from email.message import EmailMessage
from typing import Any

from at_start import ends_start

VENDOR = "hello@skyvern.com"
SECONDS = 10


@ends_start("approval mail")
def configure_app(_app: Any) -> None:
    """Called by Skyvern before the server starts; ends the start where its mails do not pass through this."""
    from skyvern.forge.sdk.api import email

    replace(email, sender=os.environ["SMTP_SENDER"], verify=os.environ["SMTP_VERIFY"] == "true")


def replace(email: Any, *, sender: str, verify: bool) -> None:
    """Puts the sender in front of Skyvern's ``send``, and ``deliver`` below it; RuntimeError where one is not as expected."""
    expected = {
        "send": ("sender", "subject", "recipients", "body", "body_format", "html_footer", "headers"),
        "_send_blocking": ("host", "port", "username", "password", "message"),
    }
    for name, parameters in expected.items():
        place = getattr(email, name, None)
        if not inspect.isfunction(place) or tuple(inspect.signature(place).parameters) != parameters:
            raise RuntimeError(f"this Skyvern's {name} is not that of 1.0.56, so approval mails would not leave as they should")
    skyvern_send = email.send

    async def send(**arguments: Any) -> bool:
        if arguments["sender"] == VENDOR:
            arguments["sender"] = sender
        return bool(await skyvern_send(**arguments))

    def send_blocking(**arguments: Any) -> None:
        deliver(**arguments, verify=verify)

    email.send, email._send_blocking = send, send_blocking


def deliver(*, host: str, port: int, username: str, password: str, message: EmailMessage, verify: bool) -> None:
    """Sends a message; smtplib.SMTPException or OSError, as Skyvern's own function raises them."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    from_the_start = port == 465
    with (
        smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=context)
        if from_the_start
        else smtplib.SMTP(host, port, timeout=SECONDS)
    ) as server:
        if not from_the_start:
            server.starttls(context=context)
        server.login(username, password)
        server.send_message(message)
