"""The imitation of Naver's editor in Chromium: Hangul arrives whole however it is typed, and what a script writes does not.

Nightly, because it needs Chromium.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from tests.support import blog_editor, chromium
from tests.support.blog_editor import BLOG, BlogEditor
from tests.support.chromium import Page

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(300)]
TITLE = "오늘의 소식 — 봄 신상품"
BODY = ["첫 문단입니다. 값은 ₩12,000.", "", "둘째: 닭볶음탕, 쫓다, 뷁!", "하나 가나다"]
# In Unicode's order of initial and of final consonants.
INITIALS, FINALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ", " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"


def is_syllable(letter: str) -> bool:
    return "가" <= letter <= "힣"


def initial_of(syllable: str) -> str:
    return INITIALS[(ord(syllable) - ord("가")) // 588]


def states_of(syllable: str, follower: str) -> list[str]:
    """What an IME shows until a syllable is done: ㅎ, 하, and 한 in front of 나, whose consonant it is only from the vowel on."""
    final = (ord(syllable) - ord("가")) % 28
    without = chr(ord(syllable) - final)
    states = [initial_of(syllable), without]
    if final:
        return [*states, syllable]
    follows = initial_of(follower) if is_syllable(follower) else " "
    return [*states, chr(ord(without) + FINALS.index(follows))] if follows in FINALS[1:] else states


def type_letters(page: Page, line: str) -> None:
    """As Playwright's ``keyboard.type``, which the example uses: keys of an American keyboard, and anything else as it is."""
    for letter in line:
        if letter.isascii():
            page.press(letter, letter)
        else:
            page.send("Input.insertText", text=letter)


def compose(page: Page, line: str) -> None:
    """As a person with a Korean keyboard."""
    for letter, follower in pairwise([*line, ""]):
        if is_syllable(letter):
            for state in states_of(letter, follower):
                page.send("Input.imeSetComposition", text=state, selectionStart=1, selectionEnd=1)
        page.send("Input.insertText", text=letter)


def insert(page: Page, line: str) -> None:
    """As a program that has the line already."""
    if line:
        page.send("Input.insertText", text=line)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium.page(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def blog() -> Iterator[BlogEditor]:
    with blog_editor.serving() as site:
        site.frame, site.popups = False, 0
        yield site


@pytest.fixture
def editor(browser: Page, blog: BlogEditor) -> Page:
    """The page with the editor."""
    for path in ("here-a-person-logs-in", f"{BLOG}/postwrite"):
        browser.send("Page.navigate", url=f"{blog.origin}/{path}")
        browser.wait_for(f"location.pathname == '/{path}' && document.readyState == 'complete'")
    browser.wait_for("document.querySelector('#tag-input') !== null")
    return browser


def focus(page: Page, selector: str) -> None:
    page.evaluate(f"document.querySelector('{selector}').focus()")


def focus_tags(page: Page) -> None:
    page.evaluate("document.querySelector('[class^=publish_btn__]').click()")
    focus(page, "#tag-input")


def enter(page: Page) -> None:
    page.press("Enter", "\r", 13)


def save(page: Page) -> None:
    page.evaluate("document.querySelector('[class^=save_btn__]').click()")
    page.wait_for("document.querySelector('.se-toast-popup') !== null")


@pytest.mark.parametrize("way", [type_letters, compose, insert], ids=lambda way: way.__name__)
def test_hangul_arrives_whole(editor: Page, blog: BlogEditor, way: Callable[[Page, str], None]) -> None:
    focus(editor, ".se-section-documentTitle .se-text-paragraph")
    way(editor, TITLE)
    focus(editor, ".se-section-text .se-text-paragraph")
    for number, line in enumerate(BODY):
        if number:
            enter(editor)
        way(editor, line)
    focus_tags(editor)
    way(editor, "봄 소식")
    enter(editor)
    save(editor)
    (draft,) = blog.drafts
    assert (draft["title"], draft["body"], draft["tags"]) == ([TITLE], BODY, ["봄 소식"])
    # The page shows it, too.
    assert editor.evaluate("document.querySelector('.se-section-documentTitle .se-text-paragraph').textContent") == TITLE


def test_a_syllable_that_is_taken_back_leaves_nothing(editor: Page, blog: BlogEditor) -> None:
    focus(editor, ".se-section-documentTitle .se-text-paragraph")
    compose(editor, "봄")
    for state in ("ㄱ", "그", ""):
        editor.send("Input.imeSetComposition", text=state, selectionStart=len(state), selectionEnd=len(state))
    compose(editor, "꽃")
    editor.press("Backspace", "", 8)
    save(editor)
    assert [draft["title"] for draft in blog.drafts] == [["봄"]]


def test_text_in_place_of_everything(editor: Page, blog: BlogEditor) -> None:
    """As Playwright's ``fill``, with which Skyvern types for a language model."""
    focus(editor, ".se-section-text .se-text-paragraph")
    type_letters(editor, "an earlier one")
    enter(editor)
    type_letters(editor, "and more")
    editor.evaluate("getSelection().selectAllChildren(document.querySelector('.se-section-text .se-text-paragraph'))")
    editor.send("Input.insertText", text="\n".join(BODY))
    save(editor)
    assert [draft["body"] for draft in blog.drafts] == [BODY]


def test_enter_in_a_composition_adds_no_tag(editor: Page, blog: BlogEditor) -> None:
    focus_tags(editor)
    editor.send("Input.imeSetComposition", text="봄", selectionStart=1, selectionEnd=1)
    enter(editor)
    assert editor.evaluate("model.tags.length") == 0
    editor.send("Input.insertText", text="봄")
    enter(editor)
    save(editor)
    assert [draft["tags"] for draft in blog.drafts] == [["봄"]]


def test_what_a_script_writes_is_lost(editor: Page, blog: BlogEditor) -> None:
    editor.evaluate(f"document.querySelector('.se-section-documentTitle .se-text-paragraph').innerText = '{TITLE}'")
    save(editor)
    assert [draft["title"] for draft in blog.drafts] == [[""]]
