"""site/locales and site/language.js: the dictionaries, and how a page gets its language.

The UI itself is in tests/site and tests/host.
"""

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest

from components.settings.frontend import Language
from ops.observe import fleet_page
from ops.paths import ROOT

SITE = ROOT / "site"
LOCALES = sorted((SITE / "locales").glob("*.json"))
KOREAN: dict[str, Any] = json.loads((SITE / "locales/ko.json").read_text())
# Other words for a term of docs/ko/glossary.md, which a reader would take for another thing.
OTHER_WORDS = (
    *("스케줄", "파라미터", "크리덴셜", "패스워드", "워크플로우", "라벨을", "런을", "클립 보드", "새로 고치", "새로 고침"),
    *("연결 끊기", "For 반복", "While 반복", "키 암호(", "당신"),
)


def test_the_setting_knows_every_language_that_has_a_file() -> None:
    choices = get_args(get_args(Language)[0])
    assert set(choices) == {"en", "browser", *(path.stem for path in LOCALES)}


@pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.stem)
def test_a_dictionary_has_the_form_of_one(path: Path) -> None:
    """Parts of a text are numbered: a translation may leave one out (a plural), but not name one that the text does not have."""
    read = json.loads(path.read_text())
    assert set(read) == {"name", "texts", "words", "phrases"}
    assert list(read["texts"]) == sorted(read["texts"]), "sorted, so that two people's additions merge"
    for english, translated in read["texts"].items():
        assert translated.strip(), english
        assert set(re.findall(r"\{\d+\}", translated)) <= set(re.findall(r"\{\d+\}", english)), english
        # What a person types into a field by the example of the text.
        assert set(re.findall(r"\{\{ ?[a-z_0-9.]+ ?\}\}", translated)) <= set(re.findall(r"\{\{ ?[a-z_0-9.]+ ?\}\}", english)), (
            english
        )


def test_korean_says_the_whole_ui_in_one_vocabulary() -> None:
    texts = KOREAN["texts"]
    assert len(texts) > 4000
    hangul = [text for text in texts.values() if re.search("[가-힣]", text)]
    assert len(hangul) > 0.98 * len(texts)
    assert [text for text in texts.values() if any(word in text for word in OTHER_WORDS)] == []
    for english, korean in {
        "Runs": "실행",
        "Credentials": "자격 증명",
        "Schedules": "일정",
        "Save": "저장",
        "Delete": "삭제",
    }.items():
        assert texts[english] == korean


def test_every_status_has_a_word() -> None:
    statuses = {"created", "queued", "running", "completed", "failed", "terminated", "canceled", "timed out", "skipped", "paused"}
    assert statuses <= set(KOREAN["words"])


def test_the_dashboards_call_a_status_by_the_same_word() -> None:
    dashboard: dict[str, str] = runpy.run_path(str(ROOT / "images/monitor/texts.py"))["KOREAN"]
    statuses = ("created", "queued", "running", "completed", "failed", "terminated", "canceled", "timed_out", "paused")
    assert {status: dashboard[status] for status in statuses} == {status: KOREAN["words"][status] for status in statuses}
    heads = ("Completed", "Failed", "Terminated", "Canceled", "Timed out", "Runs", "Schedules", "Workflow")
    assert {head: dashboard[head] for head in heads} == {head: KOREAN["texts"][head] for head in heads}
    over_all = ("Completed", "Failed", "Queued", "Runs")
    assert {head: fleet_page.KOREAN[head] for head in over_all} == {head: KOREAN["texts"][head] for head in over_all}


# --- language.js ---------------------------------------------------------------------------------------------------------


DICTIONARY = {
    "texts": {"Save": "저장", "{0} of {1}": "{1}개 중 {0}개", "{0} run{1}": "실행 {0}개"},
    "words": {"failed": "실패"},
    "phrases": [["^Every (\\d+) minutes$", "$1분마다"], ["^At (\\d\\d:\\d\\d) AM", "오전 $1"], ["Monday", "월요일"]],
}
PAGE = """
const kept = %(kept)s;
globalThis.localStorage = {
  getItem: () => { if (kept === "refused") throw new Error("no storage"); return kept; },
  setItem: () => {},
};
Object.defineProperty(globalThis, "navigator", { value: { languages: %(languages)s } });
globalThis.asked = [];
globalThis.fetch = async (url) => {
  asked.push(url);
  if (%(broken)s) throw new Error("no network");
  return new Response(%(dictionary)s);
};
globalThis.switches = 0;
const element = () => ({ append: () => {}, setAttribute: () => {}, addEventListener: () => {} });
globalThis.Option = class {};
globalThis.document = { documentElement: {}, createElement: element, body: { append: () => { switches += 1; } } };
globalThis.main = false;
await import(%(script)s);
const t = globalThis.__text;
console.log(JSON.stringify({
  lang: document.documentElement.lang, main, asked, switches,
  text: t("Save"), own: t("Runs"), object: t("constructor"),
  filled: t.of("{0} of {1}", 2, "{0}"), plural: t.of("{0} run{1}", 2, "s"), same: t.of("{0} {1}", "a", "b"),
  parts: t.parts("{0} of {1}", [7, " of ", 9], [0, 2]), kept: t.parts("{0} and {1}", [7, " and ", 9], [0, 2]),
  word: t.word("failed"), data: t.word("Failed by me"),
  phrases: ["Every 5 minutes", "At 09:00 AM", "At 09:00 AM, only on Monday"].map(t.phrase),
  locale: t.locale("en-US") ?? null, week: [0, 1, 6].map((day) => t.weekday(day, "SMTWTFS"[day])).join(""),
}));
"""


def look(tmp_path: Path, setting: str, kept: str | None, languages: list[str], *, broken: bool = False) -> dict[str, Any]:
    """What a page with this setting has, in a browser with these languages; ``kept`` is the choice of an earlier visit."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    script = (SITE / "language.js").read_text()
    main = "data:text/javascript,globalThis.main=globalThis.__text!==undefined"
    for name, value in {
        "__UI_LANGUAGE_PLACEHOLDER__": setting,
        " /* languages */": ', "ko": "한국어"',
        "__UI_MAIN__": main,
    }.items():
        assert name in script
        script = script.replace(name, value)
    (tmp_path / "language.mjs").write_text(script)
    page = PAGE % {
        "kept": json.dumps(kept),
        "languages": json.dumps(languages),
        "broken": json.dumps(broken),
        "dictionary": json.dumps(json.dumps(DICTIONARY)),
        "script": json.dumps(str(tmp_path / "language.mjs")),
    }
    (tmp_path / "page.mjs").write_text(page)
    done = subprocess.run(["node", tmp_path / "page.mjs"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("setting", "kept", "languages", "language"),
    [
        ("ko", None, ["en-US"], "ko"),
        ("ko", "en", ["en-US"], "ko"),
        ("en", "ko", ["ko-KR"], "en"),
        ("browser", None, ["ko-KR", "en-US"], "ko"),
        ("browser", None, ["en-GB", "ko"], "en"),
        ("browser", None, ["fr-FR", "ko"], "ko"),
        ("browser", None, ["fr-FR"], "en"),
        ("browser", "ko", ["en-US"], "ko"),
        ("browser", "constructor", ["en-US"], "en"),
        ("browser", "refused", ["ko"], "ko"),
        ("xx", None, ["ko"], "en"),
    ],
)
def test_the_setting_then_the_choice_then_the_browser(
    tmp_path: Path, setting: str, kept: str | None, languages: list[str], language: str
) -> None:
    found = look(tmp_path, setting, kept, languages)
    assert (found["lang"], found["main"], found["switches"]) == (language, True, int(setting == "browser"))
    assert found["asked"] == ([] if language == "en" else [f"/languages/{language}.json"])


def test_korean_texts(tmp_path: Path) -> None:
    found = look(tmp_path, "ko", None, [])
    assert found["text"] == "저장"
    assert (found["own"], found["object"]) == ("Runs", "constructor"), "English where there is no Korean"
    assert (found["filled"], found["plural"], found["same"]) == ("{0}개 중 2개", "실행 2개", "a b"), (
        "a value is no part of the text"
    )
    assert (found["parts"], found["kept"]) == (["", 9, "개 중 ", 7, "개"], [7, " and ", 9])
    assert (found["word"], found["data"]) == ("실패", "Failed by me")
    assert found["phrases"] == ["5분마다", "오전 09:00", "At 09:00 AM, only on Monday"], "never half a sentence"
    assert (found["locale"], found["week"]) == ("ko", "일월토")


@pytest.mark.parametrize(("setting", "broken"), [("en", False), ("ko", True)])
def test_english_is_what_the_ui_says_itself(tmp_path: Path, setting: str, broken: bool) -> None:
    """Also where the dictionary cannot be fetched: a page in English is better than none."""
    found = look(tmp_path, setting, None, [], broken=broken)
    assert (found["text"], found["filled"], found["plural"]) == ("Save", "2 of {0}", "2 runs")
    assert (found["parts"], found["word"], found["phrases"][0]) == ([7, " of ", 9], "failed", "Every 5 minutes")
    assert (found["main"], found["week"]) == (True, "SMS" if setting == "en" else "일월토")


def test_the_page_loads_no_font_and_breaks_korean_between_words() -> None:
    style = (SITE / "language.css").read_text()
    assert "word-break: keep-all" in style
    assert "@font-face" not in style
    assert "url(" not in style
