"""A Chromium without a window, driven by its own protocol (https://chromedevtools.github.io/devtools-protocol).

Over its pipe (``--remote-debugging-pipe``: messages that end with a zero byte), because that needs no library. Not here:
Playwright, which is in the server's image alone.
"""

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def executable() -> str:
    """The one of this machine; `script/test nightly` installs it."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "chromium: not found; apt-get install chromium"
    return found


class Page:
    """One page, and the frames in it that are of the same site."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests, self._answers, self._numbers = requests, answers, itertools.count(1)
        self._session: dict[str, str] = {}
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol and its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **self._session}
        self._requests.write(json.dumps(message).encode() + b"\0")
        self._requests.flush()
        while True:
            answer = json.loads(self._message())
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def _message(self) -> bytes:
        """The next message; those that answer nothing are events."""
        message = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "chromium ended"
            message += byte
        return bytes(message)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        done = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60) -> None:
        """Until it is true."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, expression
            time.sleep(0.05)

    def press(self, key: str, text: str, code: int = 0) -> None:
        """A key that is pressed and let go. text: that it types. code: Windows' number of a key that is no letter."""
        named = {"key": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **named)
        self.send("Input.dispatchKeyEvent", type="keyUp", **named)


@contextmanager
def page(folder: Path) -> Iterator[Page]:
    """A page of a browser that has just been started. folder: for its profile, empty."""
    requests, answers = folder / "requests", folder / "answers"
    for pipe in (requests, answers):
        os.mkfifo(pipe)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"]
    # It wants both ends under the numbers 3 and 4.
    started = subprocess.Popen(
        ["bash", "-c", 'exec "${@:3}" 3<"$1" 4>"$2"', "bash", str(requests), str(answers), executable(), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with requests.open("wb") as to, answers.open("rb") as from_:
            yield Page(to, from_)
    finally:
        started.kill()
        started.wait()
