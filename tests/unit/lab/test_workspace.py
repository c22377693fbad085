"""Copies of the checkout for tests and measurements."""

import subprocess
from pathlib import Path

import pytest

from lab import workspace


def test_a_copy_has_no_salt_of_the_checkouts_own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout on which script/up ran: with its salt and another passphrase, Pulumi makes no stack."""
    root, copy = tmp_path / "root", tmp_path / "copy"
    root.mkdir()
    copy.mkdir()
    subprocess.run(["git", "init", "--quiet", root], check=True)
    (root / "Pulumi.dev.yaml").write_text("config:\n  skyvern:llm:\n    provider: none\nencryptionsalt: v1:abc\n")
    (root / "Pulumi.yaml").write_text("name: skyvern\n")
    monkeypatch.setattr(workspace, "ROOT", root)
    workspace.copy_checkout(copy)
    assert (copy / "Pulumi.dev.yaml").read_text() == "config:\n  skyvern:llm:\n    provider: none\n"
    assert (copy / "Pulumi.yaml").read_text() == "name: skyvern\n"
