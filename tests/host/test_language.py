"""The UI in Korean and English, in the server's Chromium: what its pages say, and that what is saved is the same.

The UI is the gateway image's; the API is a double (language_pages.py), so that nothing but the language differs.
"""

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.host.conftest import Checkout

GATEWAY = "skyvern-dev-gateway"
SERVER = "skyvern-dev-server"
SCRIPT = Path(__file__).parent / "language_pages.py"
# Names, products, formats, keys of the keyboard, words of code, ids, and the double's own values: Latin in every language.
# A Korean particle follows them without a space: words are those of ASCII.
LATIN = re.compile(
    r"""https?://\S*|(?<![\w-])[\w-]{21}(?![\w-])|\S+@\S+|[\w-]+\.[\w./-]+|\b[0-9a-f]{7}\b|\{\{.*?\}\}|\b(?:[A-Za-z]+_\w+|[A-Z0-9]{2,}s?|[a-z]{1,2})\b
    |\b(?:Skyvern|Copilot|GitHub|Discord|Runs|Title|Name|Cancel|Delete|Daily|Asia|Seoul|Google|Gmail|Drive|Sheets|Bitwarden
    |Azure|1?Password|React|Flow|OpenAI|OpenRouter|Ollama|Gemini|Llama|Local|mistral|Amazon|Blob|Storage|Hacker|News|Finance|Apple
    |Client|Secret|Cloud|Console|Cron|Esc|Ctrl|Cmd|Shift|Enter|Bearer|Jinja|Parquet|Excel|Else|If|Exa|Chrome
    |UI|string|visa|sku|price|stock|invoice|records|optional|Developer|Directory|OAuth|Edge|from|attribution
    |Unfold|line|Sheet\d|LiteLLM|WebSocket|Docker|Compose|Private|Personal|Employee|Shared|block_\w+|Local|Outlook|Hat
    |Save(?:\ changes)?|click|cURL|MyNamedRange|cron|site|thinking)\b""",
    re.VERBOSE | re.ASCII,
)


@pytest.fixture(scope="module")
def look(checkout: Checkout, first_up: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """What language_pages.py finds of the stack's UI, by its last two arguments."""
    docker = checkout.docker
    ui = tmp_path_factory.mktemp("ui")
    for folder in ("skyvern-ui", "skyvern-ui-languages"):
        docker.run("cp", f"{GATEWAY}:/usr/share/{folder}", str(ui / folder))
    image = docker.inspect(SERVER)["Config"]["Image"]
    ui.chmod(0o755)

    def run(language: str, then: str = "/pictures/taken") -> dict[str, Any]:
        mounts = [f"--volume={ui}:/ui:ro", f"--volume={SCRIPT}:/language_pages.py:ro"]
        options = [
            "--rm",
            "--network=none",
            "--init",
            "--cap-drop=ALL",
            "--shm-size=512m",
            "--tmpfs=/pictures:mode=1777",
            *mounts,
        ]
        arguments = ["/ui/skyvern-ui", "/ui/skyvern-ui-languages", language, then]
        output = docker.run("run", *options, image, "python", "/language_pages.py", *arguments, timeout_seconds=1200)
        found: dict[str, Any] = json.loads(output)
        return found

    return run


# First values of a new block, which become part of the workflow.
FIRST_VALUES = {
    "Please review and approve or reject to continue the agent.",
    "Human interaction required for agent run",
    "Your interaction is required for an agent run!",
}


def latin(text: str) -> set[str]:
    """The lines of a page that have Latin words which are no names."""
    lines = {line.strip() for line in re.split(r"[\n\t]", text)} - FIRST_VALUES
    return {line for line in lines if re.search(r"[A-Za-z]{3}", LATIN.sub("", line))}


def requests(found: dict[str, Any]) -> list[list[str]]:
    """What was made, saved, scheduled and started, without the ids that the editor generates for branches."""
    return [[name, re.sub(r"\bid: \S{21}$", "id: GENERATED", body, flags=re.MULTILINE)] for name, body in found["sent"]]


def types_of(definition: str) -> set[str]:
    """The types of the blocks of a saved workflow, those in other blocks included."""
    return set(re.findall(r"\bblock_type: (\w+)", definition))


def test_the_choice_is_a_switch_in_the_corner_and_is_kept(look: Callable[..., dict[str, Any]]) -> None:
    assert look("browser") == {"switch": ["en", "ko"], "errors": []}


@pytest.mark.nightly
def test_pages_are_korean_and_what_is_saved_is_the_same(look: Callable[..., dict[str, Any]]) -> None:
    """Ten minutes: the screens and each kind of block, in both languages."""
    korean, english = look("ko"), look("en")
    assert (korean["language"], english["language"]) == ("ko", "en")
    # Values of people that are words of the UI: a workflow "Runs", a credential "Title", a block "Delete".
    for screen, value in {
        "runs": "Runs",
        "credentials": "Title",
        "schedules": "Daily",
        "studio": "Delete",
        "run-form": "Name",
    }.items():
        assert value in re.split(r"[\n\t]", korean["texts"][screen]), screen
    assert {screen: latin(text) for screen, text in korean["texts"].items() if latin(text)} == {}
    assert requests(korean) == requests(english)
    names = [name for name, _ in korean["sent"]]
    assert names == ["POST workflows", "PUT workflows/wpid_1", "POST workflows/wpid_1/schedules", "POST workflows/wpid_1/run"]
    # Each kind that the library offers is in what was saved.
    assert len(types_of(korean["sent"][1][1])) == len(korean["kinds"]) >= 25
    assert (korean["errors"], english["errors"]) == ([], [])


@pytest.mark.nightly
def test_korean_takes_no_more_of_the_processor(look: Callable[..., dict[str, Any]]) -> None:
    """The page of runs, whose scripts take about the same in either language: the median of what 21 pairs of loads compare."""
    ratios = look("time", "21")["ratios"]
    assert len(ratios) == 21
    assert statistics.median(ratios) < 1.02
