"""An imitation of Naver's blog editor, as public programs describe it: what automations/examples/naver-blog-draft.yaml drives.

Class names and ids are those that the programs name; the suffixes of the toolbar's buttons are hashes of a build there, too.
The editor keeps a model of its own: only what is typed (trusted ``beforeinput`` events) arrives when the draft is saved, and text
that a script writes into the page is lost. Not here: Naver itself, which no test may drive.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from lab import loopback

BLOG = "shop"
COOKIE = "NID_SES=imitation"
PICTURE = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")
# Of the first build and of a later one.
BUILDS = ("bzc5B", "x7Qw2")

_LOGIN = """<!doctype html><html lang=ko><meta charset=utf-8><title>네이버 로그인</title>
<form action=/nidlogin.login method=post><input id=id name=id><input id=pw name=pw type=password>
<button id=log.login>로그인</button></form>"""

_CAPTCHA = """<!doctype html><html lang=ko><meta charset=utf-8><title>자동입력 방지</title>
<div id=captcha>자동입력 방지 문자를 입력하세요.<img id=captchaimg alt="영수증의 가게 위치는?"><input id=chptcha></div>"""

_FRAME = '<!doctype html><html lang=ko><meta charset=utf-8><title>블로그</title><iframe id=mainFrame name=mainFrame src="%s" \
style="width:100%%;height:95vh;border:0"></iframe>'

_EDITOR = """<!doctype html><html lang=ko><meta charset=utf-8><title>블로그 글쓰기</title>
<style>
  body { font-family: sans-serif } [contenteditable] { border: 1px solid #ccc; min-height: 2em; padding: .3em }
  .dim { position: fixed; inset: 0; background: #0008; z-index: 9 } .layer { border: 2px solid #0a0; padding: 1em }
</style>
<body><script>
const options = OPTIONS;
const model = {title: [''], body: [''], images: [], tags: [], typed: 0};
const make = (tag, classes, text, parent) => {
  const element = document.createElement(tag);
  element.className = classes;
  element.textContent = text;
  (parent || document.body).append(element);
  return element;
};
const send = async (path, body) => (await fetch(path, {method: 'POST', body})).ok;

function popup(left) {
  if (!left) return;
  const dim = make('div', 'dim se-popup-dim', '');
  const box = make('div', 'se-popup-alert', '작성 중인 글이 있습니다. 이어서 작성하시겠습니까?', dim);
  make('button', 'se-popup-button se-popup-button-confirm', '확인', box);
  make('button', 'se-popup-button se-popup-button-cancel', '취소', box).onclick = () => {
    dim.remove();
    setTimeout(popup, 400, left - 1);
  };
}

// What is typed at the end of a field, line by line. An IME sends a syllable again for each of its letters, and each event names
// what it replaces.
function keep(field, lines) {
  const replaced = ([target]) => {
    if (!target) return '';
    const range = document.createRange();
    range.setStart(target.startContainer, target.startOffset);
    range.setEnd(target.endContainer, target.endOffset);
    return range.toString();
  };
  field.addEventListener('compositionstart', event => {
    if (event.isTrusted) model.typed += 1;
  });
  field.addEventListener('beforeinput', event => {
    if (!event.isTrusted) return;
    const gone = replaced(event.getTargetRanges()), last = lines.pop();
    // More than the last line is all of it.
    if (gone.length > last.length) lines.length = 0;
    lines.push(last.slice(0, Math.max(last.length - gone.length, 0)));
    if (event.inputType === 'insertParagraph') lines.push('');
    if (event.inputType === 'insertText') model.typed += 1;
    if (event.inputType === 'insertText' || event.inputType === 'insertCompositionText') {
      const [first, ...others] = event.data.split('\\n');
      lines.push(lines.pop() + first, ...others);
    }
  });
}

function editor() {
  const bar = make('div', 'se-toolbar', '');
  const hash = options.build;
  if (!options.moved) {
    make('button', 'save_btn__' + hash, '저장', bar).onclick = async () => {
      if (await send('/api/drafts', JSON.stringify(model))) make('div', 'se-toast-popup', '임시저장이 완료되었습니다.');
    };
    make('button', 'publish_btn__' + hash, '발행', bar).onclick = () => {
      layer.hidden = !layer.hidden;
    };
  }
  const photo = make('button', 'se-image-toolbar-button', '사진', bar);
  photo.onclick = () => {
    const input = document.createElement('input');
    input.type = 'file';
    input.onchange = async () => {
      const file = input.files[0];
      if (await send('/api/photos?name=' + encodeURIComponent(file.name), file)) {
        model.images.push(file.name);
        make('img', 'se-image-resource', '', make('div', 'se-component se-image', '', content)).src = URL.createObjectURL(file);
      } else {
        make('div', 'se-popup-alert se-popup-alert-error', '사진을 올리지 못했습니다.');
      }
    };
    input.click();
  };
  const content = make('div', 'se-content', '');
  const sections = [
    ['title', 'se-section-documentTitle', '제목'],
    ['body', 'se-section-text', '글감과 함께 나의 일상을 기록해보세요!'],
  ];
  for (const [name, section, invitation] of sections) {
    const box = make('div', 'se-section ' + section, '', content);
    const placeholder = make('span', 'se-placeholder', invitation, box);
    const field = make('p', 'se-text-paragraph', '', box);
    field.contentEditable = 'true';
    field.addEventListener('input', () => { placeholder.hidden = field.textContent !== ''; });
    keep(field, model[name]);
  }
  const layer = make('div', 'layer layer_publish__' + hash, '');
  layer.hidden = true;
  const tag = make('input', 'tag_input__' + hash, '', layer);
  tag.id = 'tag-input';
  tag.placeholder = '#태그 입력 (최대 30개)';
  tag.onkeydown = event => {
    // Enter that ends a composition of an IME adds no tag.
    if (event.key === 'Enter' && event.isTrusted && !event.isComposing && tag.value) {
      model.tags.push(tag.value);
      make('span', 'tag_item__' + hash, '#' + tag.value, layer);
      tag.value = '';
    }
  };
  make('button', 'confirm_btn__' + hash, '발행', layer).onclick = async () => {
    if (await send('/api/posts', JSON.stringify(model))) top.location = '/' + options.blog;
  };
  make('button', 'se-help-panel-close-button', '도움말 닫기', make('div', 'se-help-panel', '도움말'))
    .onclick = event => event.target.parentElement.remove();
  popup(options.popups);
}
setTimeout(editor, options.slow_seconds * 1000);
</script>"""


@dataclass
class BlogEditor:
    """What is wrong with the site, to be set by a test, and what has arrived.

    frame: the editor is in ``iframe#mainFrame``. popups: how often it asks whether to go on with the last draft. slow_seconds:
    until there is an editor at all. captcha: instead of the editor. moved: the buttons are gone. drafts, posts: as they were
    saved; ``typed`` is how many times something was typed into title and body, a composition of an IME counted once.
    photos: names and sizes. people: who has logged in by hand. log_in_attempts: forms that were sent to the login page.
    """

    origin: str = ""
    frame: bool = True
    popups: int = 1
    slow_seconds: float = 0
    build: str = BUILDS[0]
    captcha: bool = False
    moved: bool = False
    refuse_photos: bool = False
    session_valid: bool = True
    drafts: list[dict[str, Any]] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)
    photos: list[tuple[str, int]] = field(default_factory=list)
    log_in_attempts: int = 0
    people: int = 0

    @property
    def page(self) -> str:
        """The script's options and the editor."""
        options = {name: getattr(self, name) for name in ("build", "moved", "popups", "slow_seconds")} | {"blog": BLOG}
        return _EDITOR.replace("OPTIONS", json.dumps(options))


@contextmanager
def serving(address: str = "127.0.0.1", port: int = 0) -> Iterator[BlogEditor]:
    """The site, on an address of this machine. ``/here-a-person-logs-in`` is what a person's login leaves: its cookie."""
    blog = BlogEditor()

    def posts() -> str:
        return "".join(f"<h3>{'<br>'.join(post['title'])}</h3><p>{'<br>'.join(post['body'])}</p>" for post in blog.posts)

    class Handler(loopback.Handler):
        def do_GET(self) -> None:
            path = urlsplit(self.path)
            if path.path == "/here-a-person-logs-in":
                blog.people += 1
                self.send_whole(200, "<!doctype html><title>블로그</title>", cookie=f"{COOKIE}; Max-Age=86400; Path=/")
            elif path.path == "/nidlogin.login":
                self.send_whole(200, _LOGIN)
            elif path.path == "/picture.png":
                self.send_whole(200, PICTURE, kind="image/png")
            elif not blog.session_valid or COOKIE not in self.headers.get("Cookie", ""):
                self.send_response(302)
                self.send_header("Location", "/nidlogin.login?url=")
                self.end_headers()
            elif blog.captcha:
                self.send_whole(200, _CAPTCHA)
            elif path.path == "/PostWriteForm.naver" or (path.path == f"/{BLOG}/postwrite" and not blog.frame):
                self.send_whole(200, blog.page)
            elif path.path == f"/{BLOG}":
                self.send_whole(200, "<!doctype html><html lang=ko><meta charset=utf-8><title>블로그</title>" + posts())
            elif path.path == f"/{BLOG}/postwrite":
                self.send_whole(200, _FRAME % f"/PostWriteForm.naver?blogId={BLOG}")
            else:
                self.send_whole(404, "")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            path = urlsplit(self.path)
            if path.path == "/nidlogin.login":
                blog.log_in_attempts += 1
                self.send_whole(200, _CAPTCHA)
            elif path.path == "/api/photos":
                if not blog.refuse_photos:
                    blog.photos.append((path.query.removeprefix("name="), len(body)))
                self.send_whole(403 if blog.refuse_photos else 200, "")
            else:
                (blog.drafts if path.path == "/api/drafts" else blog.posts).append(json.loads(body))
                self.send_whole(200, "")

    with loopback.serving(Handler, address=address, port=port) as taken:
        blog.origin = f"http://{address}:{taken}"
        yield blog
