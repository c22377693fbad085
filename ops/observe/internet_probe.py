"""Asks hosts over HTTPS through the egress proxy, as a browser would, and prints a JSON list of how far each got.

Runs inside the server's container, as text given to its Python: no import of this project. The judgement is in internet.py.

    internet_probe.py PROXY_HOST:PORT first|every HOST...
"""

import email.utils
import json
import os
import socket
import ssl
import sys
import threading
import time

# Squid gives up on a name after 30 s and on each address after 20; then which of the two it was is asked here.
PROXY_SECONDS = 45
STEP_SECONDS = 20
OTHERS_SECONDS = 5
# More than any path's packet, by far; home pages of large sites have several times as much.
LARGE = 64 * 1024
# OpenSSL's reasons for "not yet valid" and "expired": as likely a wrong clock here.
TIMES = (9, 10)


class FailedError(Exception):
    """A step of ``internet.Step``, and what was seen."""


def resolves(host: str) -> bool:
    """Whether this container's resolver has an IPv4 address for the name."""
    try:
        return bool(socket.getaddrinfo(host, 443, socket.AF_INET))
    except OSError:
        return False


def tunnel(proxy: str, host: str) -> socket.socket:
    """A connection to the host by way of the proxy."""
    name, _, port = proxy.rpartition(":")
    try:
        line = socket.create_connection((name, int(port)), STEP_SECONDS)
    except OSError as failed:
        raise FailedError("proxy", str(failed)) from failed
    try:
        line.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
        line.settimeout(PROXY_SECONDS)
        head = b""
        while b"\r\n\r\n" not in head:
            received = line.recv(1)
            if not received:
                raise FailedError("proxy", "it closed the connection")
            head += received
    except OSError as failed:
        raise FailedError("connect" if resolves(host) else "name", f"no answer within {PROXY_SECONDS} s") from failed
    status, _, rest = head.decode("latin-1").partition("\r\n")
    code = status.split(" ")[1] if " " in status else ""
    if code == "200":
        return line
    headers = dict(field.lower().split(": ", 1) for field in rest.split("\r\n") if ": " in field)
    # Such as "ERR_CONNECT_FAIL 110", with the system's number of the error.
    reason, _, number = headers.get("x-squid-error", "").upper().partition(" ")
    if code == "502" or "DNS_FAIL" in reason:
        raise FailedError("name", "no address")
    if code == "403":
        raise FailedError("private", "its address is a private one")
    detail = os.strerror(int(number)) if number.isdigit() and int(number) else f"the proxy answers {code}"
    raise FailedError("connect", detail)


def encrypted(proxy: str, host: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    """The same, with TLS on it."""
    line = tunnel(proxy, host)
    line.settimeout(STEP_SECONDS)
    return context.wrap_socket(line, server_hostname=host)


def fetch(line: ssl.SSLSocket, host: str) -> bytes:
    """The answer to a GET, at most LARGE of it."""
    try:
        headers = ("GET / HTTP/1.1", f"Host: {host}", "User-Agent: Mozilla/5.0", "Accept: text/html", "Connection: close", "", "")
        line.sendall("\r\n".join(headers).encode())
        answer = b""
        while len(answer) < LARGE:
            received = line.recv(LARGE)
            if not received:
                break
            answer += received
    except TimeoutError as late:
        raise FailedError("answer", f"it stops after {len(answer)} bytes") from late
    except OSError as failed:
        raise FailedError("answer", str(failed)) from failed
    if not answer.startswith(b"HTTP/1."):
        raise FailedError("answer", "it is not HTTP")
    return answer


def ahead(answer: bytes, asked: float, answered: float) -> float | None:
    """Seconds by which this clock is ahead of the host's; None without a date. A cached answer has an age."""
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    headers = dict(field.lower().split(": ", 1) for field in head.split("\r\n")[1:] if ": " in field)
    try:
        date = email.utils.parsedate_to_datetime(headers["date"]).timestamp()
        age = int(headers.get("age", "0"))
    except (KeyError, ValueError, TypeError):
        return None
    # A date has whole seconds.
    return round((asked + answered) / 2 - date - age - 0.5, 1)


def unchecked_clock(proxy: str, host: str) -> float | None:
    """``ahead`` by whoever answers: it only tells a wrong clock from a wrong certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        asked = time.time()
        answer = fetch(encrypted(proxy, host, context), host)
    except (FailedError, OSError):
        return None
    return ahead(answer, asked, time.time())


def ask(proxy: str, host: str) -> dict[str, object]:
    """The fields of ``internet.Answer``."""
    result: dict[str, object] = {"host": host, "step": "", "detail": "", "ahead_seconds": None}
    try:
        try:
            line = encrypted(proxy, host, ssl.create_default_context())
        except ssl.SSLCertVerificationError as strange:
            if strange.verify_code in TIMES:
                result["ahead_seconds"] = unchecked_clock(proxy, host)
            raise FailedError("certificate", strange.verify_message.rstrip(".")) from strange
        except TimeoutError as late:
            raise FailedError("TLS", f"no answer within {STEP_SECONDS} s") from late
        except OSError as failed:
            raise FailedError("TLS", str(failed)) from failed
        asked = time.time()
        answer = fetch(line, host)
        result["ahead_seconds"] = ahead(answer, asked, time.time())
    except FailedError as failed:
        result["step"], result["detail"] = failed.args
    return result


def main(proxy: str, wanted: str, *hosts: str) -> None:
    """Asks all at once. After the first whole answer, the others get no more time, or a little to have their clocks compared."""
    results: dict[str, dict[str, object]] = {}
    known = threading.Condition()

    def report(host: str) -> None:
        result = ask(proxy, host)
        with known:
            results[host] = result
            known.notify()

    for host in hosts:
        threading.Thread(target=report, args=(host,), daemon=True).start()
    with known:
        known.wait_for(lambda: len(results) == len(hosts) or any(not got["step"] for got in results.values()))
        if wanted == "every":
            # A host that is blocked here keeps a connection open until the proxy gives up.
            known.wait_for(lambda: len(results) == len(hosts), OTHERS_SECONDS)
        print(json.dumps([results[host] for host in hosts if host in results]), flush=True)
    # Not the interpreter's own end, which would wait for a resolver that does not answer.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
