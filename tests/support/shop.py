"""A shop that asks for a name, a password and the code of an authenticator, and knows a browser again by a cookie."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from lab import loopback

COOKIE = "shop_session=imitation"
FORM = """<!doctype html><title>Log in</title>
<form method=post><input name=username><input name=password type=password><input name=code><button>Log in</button></form>"""
WELCOME = "<!doctype html><title>Shop</title><p id=welcome>Welcome back</p>"


@dataclass
class Shop:
    """origin: of its pages. typed: what arrived in the fields of its form, and when. welcomed: requests of browsers it knew."""

    origin: str = ""
    typed: list[tuple[Mapping[str, str], float]] = field(default_factory=list)
    welcomed: int = 0


@contextmanager
def serving(address: str, username: str, password: str) -> Iterator[Shop]:
    """On an address of this machine. The code is not looked at: which one is right, only the authenticator's secret says."""
    shop = Shop()

    class Handler(loopback.Handler):
        def do_GET(self) -> None:
            known = COOKIE in self.headers.get("Cookie", "")
            shop.welcomed += known
            self.send_whole(200, WELCOME if known else FORM)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            typed = {name: value for name, (value,) in parse_qs(body).items()}
            shop.typed.append((typed, time.time()))
            is_right = (typed.get("username"), typed.get("password")) == (username, password)
            self.send_whole(200, WELCOME if is_right else FORM, cookie=f"{COOKIE}; Max-Age=86400" if is_right else None)

    with loopback.serving(Handler, address=address) as port:
        shop.origin = f"http://{address}:{port}"
        yield shop
