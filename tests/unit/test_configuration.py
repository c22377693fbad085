"""docs/configuration.md is what the schema says."""

import yaml

from components.settings import Settings, parse, sections
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


def test_the_project_file_declares_the_same_sections() -> None:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert {name.removeprefix("skyvern:"): one["description"] for name, one in declared.items()} == {
        name: description.replace("`", "") for name, description, _ in sections()
    }
    defaults = {name.removeprefix("skyvern:"): one["default"] for name, one in declared.items()}
    assert parse(defaults, file="Pulumi.yaml") == Settings()
