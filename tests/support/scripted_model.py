"""A language model in OpenAI's form that does what the example naver-blog-draft-prompts.yaml asks for, the same way each time.

It knows what Skyvern sends and nothing else: the goal, the page as Skyvern renders it for a model, and what was done before. So a
prompt that does not name a text, or a page on which Skyvern finds no field, fails here as it would anywhere. How Skyvern asks:
skyvern/forge/prompts/skyvern/*.j2 (1.0.56). Not here: whether a real model would understand the prompts.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from lab import loopback

# A sentence of each prompt that is answered; to any other, an empty answer says that the model has nothing to add.
ACT = "Identify actions to help user progress towards the user goal"
VERIFY = "to help the user determine if the user has completed their goal"
ERRORS = "to help the user use the error codes and their descriptions to surface user-defined errors"
FIELD = "You are instructed to take an INPUT or SELECT action on the element"
SUMMARY = "Generate a summary for the following block"
NO_CHOICE = {"field": "text", "is_required": False, "is_search_bar": False, "is_location_input": False, "is_date_related": False}


@dataclass
class Element:
    """A tag of the page. id: by which Skyvern acts on it, "" where it does not. text: its own and that of what is in it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""

    @property
    def id(self) -> str:
        return self.attributes.get("id", "")


class Page(HTMLParser):
    """A page as Skyvern renders it for a model."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.text = ""
        self._open: list[Element] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in {"input", "img", "br"}:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop().tag != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.text += data
        for element in self._open:
            element.text += data

    def buttons(self, text: str) -> list[Element]:
        return [element for element in self.elements if element.tag == "button" and element.text == text]

    @property
    def fields(self) -> list[Element]:
        """Of the title and of the body: both are paragraphs, and nothing on the page is one before them."""
        return [element for element in self.elements if element.tag == "p"][:2]

    @property
    def tag_field(self) -> Element | None:
        return next((element for element in self.elements if "태그" in element.attributes.get("placeholder", "")), None)

    @property
    def is_saved(self) -> bool:
        return "임시저장이 완료" in self.text

    @property
    def stop(self) -> str | None:
        """The code of what a person has to do first."""
        if "자동입력 방지" in self.text:
            return "CAPTCHA"
        return "LOGIN_EXPIRED" if any(element.attributes.get("type") == "password" for element in self.elements) else None


@dataclass(frozen=True)
class Asked:
    """What a prompt says."""

    goal: str
    page: Page
    history: str

    @classmethod
    def by(cls, prompt: str) -> "Asked":
        goal = re.search(r"User goal:\n```\n(.*?)\n?```", prompt, re.DOTALL | re.IGNORECASE)
        page = re.search(r"(?:Clickable elements|Elements on the page).*?:\n(?:```\n)?(.*?)\n```", prompt, re.DOTALL)
        history = re.search(r"^\[\{\"action\".*$", prompt, re.MULTILINE)
        return cls(goal[1] if goal else "", Page(page[1] if page else ""), history[0] if history else "")

    @property
    def texts(self) -> list[tuple[Element, str]]:
        """The fields of title and body with what the goal wants in them; none where it wants nothing typed."""
        title = re.search(r"type exactly: (.*)", self.goal)
        body = re.search(r"with Enter between its lines:\n(.*?)\nStop at once", self.goal, re.DOTALL)
        return list(zip(self.page.fields, (title[1], body[1]), strict=False)) if title and body else []

    @property
    def tags(self) -> list[str]:
        """Those of the goal that are not on the page yet."""
        named = re.search(r"press Enter after each: (.*)", self.goal)
        tags = [tag.strip() for tag in named[1].split(",")] if named else []
        return [tag for tag in tags if f"#{tag}" not in self.page.text]

    @property
    def publishes(self) -> bool:
        return "Publish the post" in self.goal

    @property
    def is_save(self) -> bool:
        return self.publishes or "Save a draft" in self.goal

    @property
    def is_done(self) -> bool:
        if self.is_save:
            return self.page.is_saved or (self.publishes and not self.page.buttons("발행"))
        if self.page.buttons("취소") or len(self.page.fields) < 2:
            return False
        # Skyvern renders paragraphs without what is between them.
        return all(field.text == text.replace("\n", "") for field, text in self.texts)


def action(kind: str, element: Element | None = None, reasoning: str = "", **more: Any) -> dict[str, Any]:
    context = {"context": NO_CHOICE} if kind == "INPUT_TEXT" else {}
    return {
        "action_type": kind,
        "id": element and element.id,
        "reasoning": reasoning or kind,
        "confidence_float": 1.0,
        **context,
        **more,
    }


def actions(asked: Asked) -> list[dict[str, Any]]:
    """The next ones towards the goal."""
    page = asked.page
    if page.stop:
        return [action("TERMINATE", reasoning=page.stop)]
    if asked.is_done:
        return [action("COMPLETE")]
    in_front = page.buttons("취소") or page.buttons("도움말 닫기")
    if in_front:
        return [action("CLICK", in_front[0])]
    if asked.is_save:
        return saving(asked)
    if len(page.fields) < 2:
        waited = '"action_type": "wait"' in asked.history
        return [action("TERMINATE", reasoning="still no editor") if waited else action("WAIT")]
    return [action("INPUT_TEXT", field, text=text) for field, text in asked.texts]


def saving(asked: Asked) -> list[dict[str, Any]]:
    """Tags first, in the layer behind 발행, and then one of its two buttons or 저장 beside it."""
    page, closed = asked.page, "closes the layer"
    save, publish = page.buttons("저장"), page.buttons("발행")
    if not save or not publish:
        return [action("TERMINATE", reasoning="no button to save with")]
    if page.tag_field is None:
        open_first = (asked.tags or asked.publishes) and closed not in asked.history
        return [action("CLICK", publish[0]) if open_first else action("CLICK", save[0])]
    if asked.tags:
        return [action("INPUT_TEXT", page.tag_field, text=asked.tags[0]), action("KEYPRESS", key="Enter")]
    return [action("CLICK", publish[-1]) if asked.publishes else action("CLICK", publish[0], closed)]


def errors(asked: Asked, prompt: str) -> list[dict[str, Any]]:
    """Of the codes that the user has defined, the one that fits the page."""
    code = asked.page.stop or ("NOT_SAVED" if asked.is_save else "EDITOR_CHANGED")
    return [{"error_code": code, "reasoning": "as on the page", "confidence_float": 1.0}] if f'"{code}"' in prompt else []


def answer(prompt: str) -> dict[str, Any]:
    """The model's answer, as the prompt wants it."""
    asked = Asked.by(prompt)
    if ACT in prompt:
        return {"actions": actions(asked)}
    if VERIFY in prompt:
        return {"page_info": "", "thoughts": "", "user_goal_achieved": asked.is_done}
    if ERRORS in prompt:
        return {"reasoning": "", "errors": errors(asked, prompt)}
    if FIELD in prompt:
        return NO_CHOICE
    return {"summary": "Will do something."} if SUMMARY in prompt else {}


@dataclass
class ScriptedModel:
    """url: of its interface, with the version. prompts: that it was sent."""

    url: str = ""
    prompts: list[str] = field(default_factory=list)


@contextmanager
def serving(address: str = "127.0.0.1", port: int = 0) -> Iterator[ScriptedModel]:
    """The model, on an address of this machine."""
    model = ScriptedModel()

    class Handler(loopback.Handler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = "\n".join(_text(message["content"]) for message in request["messages"])
            model.prompts.append(prompt)
            message = {"role": "assistant", "content": json.dumps(answer(prompt), ensure_ascii=False)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": len(prompt), "completion_tokens": 1, "total_tokens": len(prompt) + 1}
            body = {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": request["model"],
                "choices": [choice],
                "usage": usage,
            }
            self.send_whole(200, json.dumps(body), "application/json")

    with loopback.serving(Handler, address=address, port=port) as taken:
        model.url = f"http://{address}:{taken}/v1"
        yield model


def _text(content: str | list[dict[str, Any]]) -> str:
    """What a message says; pictures say nothing."""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)
