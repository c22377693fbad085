"""docs/configuration.md and docs/ko/configuration.md are what the schema says."""

import re

import yaml

from components.settings import Settings, parse, reference, sections, skyvern_settings
from ops.paths import ROOT


def test_the_committed_page_is_current() -> None:
    committed = (ROOT / "docs" / "configuration.md").read_text()
    assert committed == reference.reference(), "run: bin/ops configuration > docs/configuration.md"


def test_the_committed_korean_page_is_current() -> None:
    committed = (ROOT / "docs" / "ko" / "configuration.md").read_text()
    assert committed == reference.reference("ko"), "run: bin/ops configuration --language ko > docs/ko/configuration.md"


def test_every_text_has_a_korean_one_and_no_other_has() -> None:
    english = reference.texts(reference.page) | reference.texts(skyvern_settings.page)
    assert len(english) > len(Settings.model_fields)
    assert set(reference.translations()) == english, "write the difference into components/settings/configuration.ko.yaml"


def test_a_korean_text_has_the_same_names_and_no_english_sentence() -> None:
    for english, korean in reference.translations().items():
        assert sorted(re.findall("`.+?`", english)) == sorted(re.findall("`.+?`", korean))
        assert not re.search("[a-z]{3,} [a-z]{2,} [a-z]{3,}", re.sub("`.+?`", "", korean)), korean


def test_every_key_is_described() -> None:
    page = reference.reference()
    for section in Settings.model_fields:
        assert f"## `skyvern:{section}`" in page
    assert "None" not in page


def test_the_project_file_declares_the_same_sections() -> None:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert {name.removeprefix("skyvern:"): entry["description"] for name, entry in declared.items()} == {
        name: description.replace("`", "") for name, description, _ in sections()
    }
    defaults = {name.removeprefix("skyvern:"): entry["default"] for name, entry in declared.items()}
    assert parse(defaults, file="Pulumi.yaml") == Settings()
