"""docs/configuration.md is what the schema says."""

from components.settings import Settings
from ops import configuration
from ops.paths import ROOT


def test_the_committed_page_is_current() -> None:
    committed = (ROOT / "docs" / "configuration.md").read_text()
    assert committed == configuration.reference(), "run: bin/ops configuration > docs/configuration.md"


def test_every_key_is_described() -> None:
    page = configuration.reference()
    for section in Settings.model_fields:
        assert f"## `skyvern:{section}`" in page
    assert "None" not in page
