"""What the container that fetches the model writes into its log when it cannot, with doubles for Ollama."""

import os
import subprocess
from pathlib import Path

import pytest

from ops.paths import ROOT

# As Ollama 0.7 and later print it: the progress in place, with control sequences, and a reason of several lines.
NEWER = """\
\x1b[?2026h\x1b[?25l\x1b[1Gpulling manifest \u280b \x1b[K\x1b[?25h\x1b[?2026l\r\x1b[1Gpulling manifest \x1b[K
Error: pull model manifest: 412:\x20

The model you are attempting to pull requires a newer version of Ollama.

Please download the latest version at:

\thttps://ollama.com/download

"""
FOREIGN = "\x1b[1Gpulling manifest\nError: pull model manifest: file does not exist\n"


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (
            NEWER,
            "Error: pull model manifest: 412: The model you are attempting to pull requires a newer version of Ollama. Please "
            "download the latest version at: https://ollama.com/download",
        ),
        (FOREIGN, "Error: pull model manifest: file does not exist"),
        ("pulling manifest\n", "Error: the pull gave no reason"),
    ],
)
def test_the_whole_reason_is_in_the_line(tmp_path: Path, printed: str, reason: str) -> None:
    """F18: ollama/ollama#14876; smoke shows this line."""
    (tmp_path / "printed").write_text(printed)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in {
        "ollama": f"""case "$1" in serve) exec /bin/sleep 30 ;; show) exit 1 ;; pull) cat {tmp_path}/printed; exit 1 ;; esac""",
        # The second try is not waited for.
        "sleep": 'case "$1" in 60) kill -TERM "$PPID" ;; *) exec /bin/sleep "$1" ;; esac',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    script = (ROOT / "images/llm/ollama-pull").read_text().replace("/tmp/", f"{tmp_path}/")  # noqa: S108
    done = subprocess.run(
        ["bash", "-c", f"trap 'kill $server; exit 1' TERM; {script}"],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OLLAMA_MODEL": "qwen3:8b", "FIRST_TRY_SECONDS": "60"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = [line for line in done.stdout.splitlines() if "is missing" in line]
    assert said == [f"ollama-pull: qwen3:8b is missing, AI steps fail until it is there; next try in 60 s; {reason}"], done.stderr
