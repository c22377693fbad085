"""The UI in other languages, as the build makes it of the published one: what is translated, and what must not be.

The pages in a browser are in tests/host/test_language.py.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.standins.vercel import build
from ops.clients import process
from ops.paths import ROOT
from tests.support.site import VARIABLES

# Calls wrap() on a source with these texts.
WRAP = """
import { wrap } from "./localize.mjs";
const [source, ...texts] = JSON.parse(process.argv[2]);
console.log(JSON.stringify(wrap(source, new Set(texts)).source));
"""
# Prints the addresses outside that the scripts of a folder have where a link may take its own: href, to, window.open, a constant.
LINKS = """
import { createRequire } from "node:module";
import { readFileSync, readdirSync } from "node:fs";
const { parse } = createRequire(import.meta.url)("acorn");
const found = new Set();
const join = (quasis) => quasis.map(({ value }, index) => (index ? `{${index - 1}}` : "") + value.cooked).join("");
const textOf = (node) => (node.type === "TemplateLiteral" ? join(node.quasis) : node.type === "Literal" ? node.value : "");
const visit = (node, parent) => {
  const text = textOf(node);
  const taken = parent?.key !== node || parent?.type !== "Property";
  const linked =
    (parent?.type === "Property" && ["href", "to"].includes(parent.key.name)) ||
    ["VariableDeclarator", "CallExpression", "ReturnStatement", "TemplateLiteral"].includes(parent?.type);
  if (taken && linked && typeof text === "string" && /^(https?:\\/\\/|mailto:)./.test(text)) found.add(text);
  for (const key in node) {
    for (const child of [node[key]].flat()) if (typeof child?.type === "string") visit(child, node);
  }
};
for (const name of readdirSync(process.argv[2]).filter((name) => name.endsWith(".js"))) {
  visit(parse(readFileSync(`${process.argv[2]}/${name}`, "utf8"), { ecmaVersion: "latest", sourceType: "module" }));
}
console.log(JSON.stringify([...found]));
"""
# Prints which literals with a Latin word the Korean texts of a script take up: [text, literal] of each.
VALUES = """
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
const { parse } = createRequire(import.meta.url)("acorn");
const { texts } = JSON.parse(readFileSync("dist/languages/ko.json", "utf8"));
const asks = (node) => (node.type === "MemberExpression" && node.object.name === "__text" ? node.property.name : "");
const isAsked = (node) => node.type === "CallExpression" && (node.callee.name === "__text" || asks(node.callee) !== "");
const literals = (node) => {
  switch (node?.type) {
    case "Literal":
      return typeof node.value === "string" ? [node.value] : [];
    case "TemplateLiteral":
      return [node.quasis.map(({ value }) => value.cooked).join("…"), ...node.expressions.flatMap(literals)];
    case "ConditionalExpression":
      return [...literals(node.consequent), ...literals(node.alternate)];
    case "LogicalExpression":
      return [...literals(node.left), ...literals(node.right)];
    case "CallExpression":
      // children of an element
      return isAsked(node) || !/^jsxs?$/.test(node.callee.property?.name)
        ? []
        : node.arguments[1].properties.filter(({ key }) => key?.name === "children").flatMap(({ value }) => literals(value));
    case "ArrayExpression":
      return node.elements.flatMap(literals);
    default:
      return [];
  }
};
const found = [];
const visit = (node) => {
  const form = node.type === "CallExpression" ? asks(node.callee) : "";
  if (form === "of" || form === "parts") {
    const [english, list, others] = node.arguments;
    const values = form === "of" ? node.arguments.slice(1) : others.elements.map(({ value }) => list.elements[value]);
    const used = new Set([...(texts[english.value] ?? "").matchAll(/\\{(\\d+)\\}/g)].map(([, index]) => Number(index)));
    for (const literal of values.filter((_, index) => used.has(index)).flatMap(literals)) {
      if (/[A-Za-z]{3}/.test(literal)) found.push([english.value, literal]);
    }
  }
  for (const key in node) {
    for (const child of [node[key]].flat()) if (typeof child?.type === "string") visit(child);
  }
};
visit(parse(readFileSync(process.argv[2], "utf8"), { ecmaVersion: "latest", sourceType: "module" }));
console.log(JSON.stringify(found));
"""
# Runs language.js of a language as a page would, with this dictionary, and prints what an expression gives.
PAGE = """
const [source, dictionary, expression] = JSON.parse(process.argv[2]);
const element = { append: () => {}, setAttribute: () => {}, addEventListener: () => {} };
Object.assign(globalThis, {
  document: { documentElement: {}, body: element, createElement: () => element },
  fetch: async () => ({ ok: dictionary !== null, json: async () => dictionary }),
});
await import(`data:text/javascript,${encodeURIComponent(source)}`);
console.log(JSON.stringify(eval(expression)));
"""
# Names and values of libraries, and what requests ask; no person follows them.
NO_LINKS = re.compile(
    r"https?://(www\.w3\.org|localhost|127\.|[\w.-]*posthog|sentry\.io|reactjs\.org|[\w.-]*\.example\.com|example\.com|api\.github\.com"
    r"|www\.googleapis\.com|github\.com/(remarkjs|syntax-tree)|writing\.colostate\.edu|openrouter\.ai|\{0\})"
)
# In pages whose routes are taken out; the component stays in the script.
OUT_OF_REACH = {"https://www.skyvern.com/contact"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of site/ with what it depends on."""
    folder = tmp_path_factory.mktemp("language") / "site"
    shutil.copytree(build.SITE, folder, ignore=shutil.ignore_patterns(*build.LEFT_OUT))
    process.capture(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, timeout_seconds=300)
    for name, text in (("wrap", WRAP), ("values", VALUES), ("links", LINKS), ("page", PAGE)):
        (folder / f"{name}.mjs").write_text(text)
    return folder


def make(site: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "SKYVERN_UI_WHEEL": str(build.wheel()), **VARIABLES, **variables}
    return subprocess.run(["node", "build.mjs"], cwd=site, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def english(site: Path) -> str:
    """The main script of the UI as it is published."""
    done = make(site)
    assert done.returncode == 0, done.stderr
    assert not (site / "dist/language.js").exists(), "English needs nothing of this"
    return main_script(site)


@pytest.fixture(scope="module")
def korean(site: Path, english: str) -> str:
    """The main script of a UI in Korean; its other files are in dist/ afterwards."""
    done = make(site, UI_LANGUAGE="ko")
    assert done.returncode == 0, done.stderr
    found = re.search(r"ko: (\d+) of (\d+) texts", done.stdout)
    assert found is not None
    assert (int(found[1]), int(found[2])) == (len(texts()), len(texts())), (
        "a text that the UI no longer has; remove it from ko.json"
    )
    return main_script(site)


def main_script(site: Path) -> str:
    (script,) = (path for path in (site / "dist/assets").glob("index-*.js") if "react" in path.read_text().lower()[:3_000_000])
    return script.read_text()


def texts() -> dict[str, str]:
    read: dict[str, str] = json.loads((build.SITE / "locales/ko.json").read_text())["texts"]
    return read


def test_the_page_starts_with_the_choice_of_the_language_and_has_no_inline_script(site: Path, korean: str) -> None:
    page = (site / "dist/index.html").read_text()
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == [""]
    assert '<script type="module" src="/language.js"></script>' in page
    (main,) = re.findall(r'<link rel="modulepreload" crossorigin href="(/assets/index-[\w-]+\.js)">', page)
    start = (site / "dist/language.js").read_text()
    assert f'await import("{main}")' in start
    assert 'const SETTING = "ko"' in start
    assert json.loads((site / "dist/languages/ko.json").read_text())["texts"] == texts()


def test_nothing_but_look_ups_is_added(english: str, korean: str) -> None:
    """Whoever takes each text out of its look-up again has the published script."""
    assert korean.count("__text") > 5500
    plain = re.sub(r'__text\(("(?:[^"\\]|\\.)*")\)', lambda found: found[1], korean)
    others = len(re.findall(r"__text\.(?:of|parts|locale|word|phrase)\(", plain))
    assert 500 < others < 1000
    # Each of the others adds its name and numbers, and for a text of several parts the text once more.
    assert len(plain) - len(english) < 150 * others


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        pytest.param('o.jsx("a",{children:"Save"})', 'o.jsx("a",{children:__text("Save")})', id="child"),
        pytest.param('o.jsx(A,{children:x?"Save":y})', 'o.jsx(A,{children:x?__text("Save"):y})', id="either child"),
        pytest.param(
            'o.jsx("a",{title:"Save",value:"Save",id:"Save"})',
            'o.jsx("a",{title:__text("Save"),value:"Save",id:"Save"})',
            id="value",
        ),
        pytest.param('f({title:"Save",variant:"Save"})', 'f({title:__text("Save"),variant:"Save"})', id="notice"),
        pytest.param('const a=x=>{return"Save it"};', 'const a=x=>{return __text("Save it")};', id="returned"),
        pytest.param(
            'o.jsxs("a",{children:["Save ",n," times"]})',
            'o.jsxs("a",{children:__text.parts("Save {0} times",[__text("Save "),n," times"],[1])})',
            id="sentence of parts",
        ),
        pytest.param(
            'o.jsxs("a",{children:[o.jsx(I,{}),"Save"]})', 'o.jsxs("a",{children:[o.jsx(I,{}),__text("Save")]})', id="icon"
        ),
        pytest.param("f({title:`Save ${a} now`})", 'f({title:__text.of("Save {0} now",(a))})', id="template"),
        pytest.param(
            'const F=({confirmLabel:a="Save"})=>f(a,x==="Save");',
            'const F=({confirmLabel:a=__text("Save")})=>f(a,x==="Save");',
            id="what is shown unless another is given",
        ),
        pytest.param(
            'f({title:`Save ${a?"it":b} now`})',
            'f({title:__text.of("Save {0} now",(a?__text("it"):b))})',
            id="choice in a template",
        ),
        pytest.param(
            'f({title:`${n} ${n===1?"run":"runs"}`})',
            'f({title:__text.count("{0} runs",`${n} ${n===1?"run":"runs"}`,n)})',
            id="number and its word",
        ),
        pytest.param(
            'o.jsxs("a",{children:[n," ",1!==n,n!==1?"runs":"run"]})',
            'o.jsxs("a",{children:__text.parts("{0} {1}runs",[n," ",1!==n,n!==1?"runs":"run"],[0,2])})',
            id="number and its word as parts",
        ),
        pytest.param("f({title:`Save`})", 'f({title:__text("Save")})', id="template without parts"),
        pytest.param('d.toLocaleDateString("en-US",x)', 'd.toLocaleDateString(__text.locale("en-US"),x)', id="date"),
        pytest.param("d.toLocaleString()", "d.toLocaleString(__text.locale())", id="number"),
    ],
)
def test_what_is_shown_is_asked_for(site: Path, source: str, shown: str) -> None:
    assert wrapped(site, source) == shown


@pytest.mark.parametrize(
    "source",
    [
        pytest.param('if(a.title==="Save it")f();', id="compared"),
        pytest.param('switch(a){case"Save it":f()}', id="case"),
        pytest.param('const a={"Save it":1};', id="key"),
        pytest.param('["Save","x"].includes(a)', id="looked for"),
        pytest.param('f.post("Save it",x)', id="sent"),
        pytest.param('const a={title:"Save",workflow_definition:{blocks:[]}};', id="request"),
        pytest.param('const a={title:"Save it",block_type:"task",data_schema:null};', id="block of a request"),
        pytest.param('const a={debuggable:!0,label:"",instructions:"Save it"};', id="first values of a block"),
        pytest.param('const a={name:"Save it",value:"Save"};', id="name"),
        pytest.param('localStorage.setItem("Save it","Save")', id="stored"),
        pytest.param('console.error("Save it")', id="console"),
        pytest.param('const a=["Save","Delete"];', id="list of words"),
        pytest.param('const t=h<12?"AM":"PM";', id="abbreviation"),
        pytest.param("const a=1;export{a as Save};", id="export"),
        pytest.param('const F=({variant:a="Save"})=>f(a,x==="Save");', id="a value unless another is given"),
        pytest.param('f.post(`Save ${a?"it":b} now`)', id="choice in what is sent"),
        pytest.param('f({title:`/${a?"it":b}`})', id="choice in an address"),
        pytest.param('f({title:`${n++} ${n===1?"run":"runs"}`})', id="number that would be counted twice"),
        pytest.param('f({title:`${n} ${n===2?"run":"runs"}`})', id="no number of a word"),
        # Look-ups are around texts of the script alone, so no value of a person or a page can be asked for.
        pytest.param('o.jsx("span",{title:w.title,children:w.title})', id="a workflow called Runs"),
        pytest.param('o.jsx("span",{"aria-label":c.name,children:[c.name," ",c.description]})', id="a credential called Title"),
        pytest.param('o.jsx("pre",{children:JSON.stringify(r.outputs)})', id="what a page said"),
        pytest.param('o.jsx("input",{value:w.title,defaultValue:c.name})', id="a value"),
    ],
)
def test_data_stays(site: Path, source: str) -> None:
    assert wrapped(site, source) == source


def wrapped(site: Path, source: str) -> Any:
    texts = ["Save", "Save ", "Save it", "it", "Delete", "AM", "PM", "Save {0} times", "Save {0} now", "{0} runs", "{0} {1}runs"]
    asked = [source, *texts]
    done = subprocess.run(["node", "wrap.mjs", json.dumps(asked)], cwd=site, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Names of code and of other programs, which stand in Korean as they are.
NAMES = re.compile(
    r"\{\{.*\}\}|[a-z]+_\w*|GET /v1/\S+|main\.py|thinking|array|Developer|Directory|Gmail|Bitwarden|1Password|LastPass"
)


def test_no_english_stands_within_a_korean_sentence(site: Path, korean: str) -> None:
    """What a text of the UI takes up is translated as well, wherever it is written in the script."""
    (path,) = (path for path in (site / "dist/assets").glob("index-*.js") if path.read_text() == korean)
    done = subprocess.run(["node", "values.mjs", str(path)], cwd=site, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [(text, value) for text, value in json.loads(done.stdout) if not NAMES.fullmatch(value.strip(' "'))] == []


def test_first_values_of_blocks_and_names_of_new_things_are_english_in_every_language(korean: str) -> None:
    """They become part of a workflow's definition, which is the same in every language."""
    for data in ('title:"New Agent",description:""', 'positiveDescriptor:"Approve"', 'title:"New Template",description:""'):
        assert data in korean
    assert 'instructions:"Please review and approve or reject to continue the agent."' in korean
    assert re.search(r"debuggable:[^{}]*__text", korean) is None


def links_of_the_page() -> tuple[set[str], set[str]]:
    """The addresses that docs/korean-ui.md keeps or leads to, and those that it says are removed."""
    rows = re.findall(r"^\| (`(?:https|mailto).*?) \|.*\| (.*) \|$", (ROOT / "docs/korean-ui.md").read_text(), re.MULTILINE)
    kept: set[str] = set()
    removed: set[str] = set()
    for addresses, decision in rows:
        (removed if decision.startswith("removed") else kept).update(re.findall(r"`([^`]+)`", addresses))
    return kept, removed


def test_each_link_that_leads_out_of_the_ui_is_decided(site: Path, korean: str) -> None:
    done = subprocess.run(["node", "links.mjs", "dist/assets"], cwd=site, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {link for link in json.loads(done.stdout) if not NO_LINKS.match(link)}
    kept, removed = links_of_the_page()
    # The page of MCP is written with the address of the documentation in front, in a constant.
    assert kept - found == {"https://www.skyvern.com/docs/developers/getting-started/mcp"}
    assert found - kept == OUT_OF_REACH == removed


def test_what_leads_nowhere_is_out_of_the_ui(english: str) -> None:
    """The sidebar has no demo and no recipes, and the addresses of recipes no page."""
    assert 'label:"Book a demo"' not in english
    assert 'i.jsx(mpn,{items:s.filter(({to:a})=>a!=="/recipes"),collapsed:e})' in english
    assert 'path:"recipes",' not in english
    assert "...Tyn" not in english
    assert "mailto:support@skyvern.com" not in english


def evaluate(site: Path, expression: str, dictionary: dict[str, Any] | None) -> Any:
    """What an expression of __text gives in a page in Korean with a dictionary; None is one that cannot be fetched."""
    source = (build.SITE / "language.js").read_text()
    source = source.replace("__UI_LANGUAGE_PLACEHOLDER__", "ko").replace(" /* languages */", ', ko: "한국어"')
    asked = json.dumps([source.replace("__UI_MAIN__", "data:text/javascript,"), dictionary, expression])
    done = subprocess.run(["node", "page.mjs", asked], cwd=site, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        pytest.param('__text("Save")', "저장", id="text"),
        pytest.param('__text("New here")', "New here", id="text without a translation"),
        pytest.param('__text("constructor")', "constructor", id="word of the language itself"),
        pytest.param('__text.of("{0} of {1}", "Save", 2)', "2 중 Save", id="values stay as they are"),
        pytest.param('__text.of("{0} more", "{1} of $& Save")', "{1} of $& Save 더", id="values with marks"),
        pytest.param('__text.of("{0} gone", "Save")', "Save gone", id="values without a translation"),
        pytest.param('__text.parts("Save {0} now", ["Save ", "Runs", " now"], [1])', ["지금 ", "Runs", " 저장"], id="parts"),
        pytest.param(
            '__text.parts("Gone {0} now", ["Gone ", "Runs", " now"], [1])', ["Gone ", "Runs", " now"], id="parts as they are"
        ),
        pytest.param('[__text("Open"), __text.word("Open")]', ["열기", "열림"], id="a button and a state"),
        pytest.param('__text.word("a status that is new")', "a status that is new", id="status without a translation"),
    ],
)
def test_a_text_that_is_not_there_is_shown_in_english(site: Path, expression: str, shown: object) -> None:
    texts = {"Save": "저장", "{0} of {1}": "{1} 중 {0}", "{0} more": "{0} 더", "Save {0} now": "지금 {0} 저장", "Open": "열기"}
    assert evaluate(site, expression, {"texts": texts, "words": {"Open": "열림"}, "phrases": []}) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("매직 링크", "매직 링크를, “매직 링크”는, 매직 링크로", id="vowel"),
        pytest.param("인증 코드 목록", "인증 코드 목록을, “인증 코드 목록”은, 인증 코드 목록으로", id="consonant"),
        pytest.param("파일", "파일을, “파일”은, 파일로", id="rieul"),
        pytest.param("Runs", "Runs을(를), “Runs”은(는), Runs(으)로", id="no Hangul"),
        pytest.param(3, "3을(를), “3”은(는), 3(으)로", id="number"),
        pytest.param("", "을(를), “”은(는), (으)로", id="nothing"),
    ],
)
def test_a_particle_follows_the_word_in_front_of_it(site: Path, value: str | int, shown: str) -> None:
    texts = {"{0}": "{0}을(를), “{0}”은(는), {0}(으)로"}
    expression = '[__text.of("{0}", VALUE), __text.parts("{0}", [VALUE], [0]).join("")]'.replace("VALUE", json.dumps(value))
    assert evaluate(site, expression, {"texts": texts}) == [shown, shown]


@pytest.mark.parametrize(
    ("english", "shown"),
    [
        ("At 09:00 AM", "매일 오전 09:00"),
        ("At 09:00 AM, Monday through Friday", "월요일~금요일 오전 09:00"),
        ("At 09:00 AM and 06:30 PM, only on Monday", "월요일 오전 09:00, 오후 06:30"),
        ("At 06:30 PM, on day 1 of the month", "매월 1일 오후 06:30"),
        ("At 12:00 AM, every 2 days", "2일마다 오전 12:00"),
        ("Every 15 minutes", "15분마다"),
        ("At 30 minutes past the hour", "매시 30분"),
        ("At 09:00 AM, on the second Monday of the month", "At 09:00 AM, on the second Monday of the month"),
    ],
)
def test_when_a_schedule_runs_is_said_as_in_korean(site: Path, english: str, shown: str) -> None:
    """The day comes before the time; a phrase of which a part is not known stays English as a whole."""
    phrases = json.loads((build.SITE / "locales/ko.json").read_text())["phrases"]
    assert evaluate(site, f"__text.phrase({json.dumps(english)})", {"phrases": phrases}) == shown


def test_a_number_and_its_word(site: Path) -> None:
    texts = {"{0} runs": "실행 {0}개"}
    expression = '[__text.count("{0} runs", "1 run", 1), __text.count("{0} steps", "1 step", 1)]'
    assert evaluate(site, expression, {"texts": texts}) == ["실행 1개", "1 step"]


def test_countries_have_the_names_of_the_language(site: Path) -> None:
    assert evaluate(site, '__text.regions({US: "United States", KR: "South Korea"})', {}) == {"US": "미국", "KR": "대한민국"}


@pytest.mark.parametrize("dictionary", [None, {}])
def test_a_dictionary_that_is_not_there_leaves_the_ui_in_english(site: Path, dictionary: dict[str, Any] | None) -> None:
    expression = (
        '[__text("Save"), __text.of("{0} of {1}", 1, 2), __text.parts("{0} runs", [3, " runs"], [0]), __text.word("failed")]'
    )
    assert evaluate(site, expression, dictionary) == ["Save", "1 of 2", [3, " runs"], "failed"]


def test_the_statuses_of_the_api_are_drawn_in_the_language(korean: str) -> None:
    assert '__text.word(t==="timed_out"?"timed out":t)' in korean


@pytest.mark.parametrize("language", ["xx", "../ko", "ko.json", "KO"])
def test_an_unknown_language_fails_the_build_in_one_line(site: Path, language: str) -> None:
    done = make(site, UI_LANGUAGE=language)
    assert (done.returncode, done.stderr) == (
        1,
        f'build: UI_LANGUAGE is "{language}"; write en, browser or a language of locales/\n',
    )


def test_a_ui_that_was_not_translated_fails_the_build(site: Path, tmp_path: Path, english: str) -> None:
    """Below nine tenths of its texts a dictionary is of another UI; a single text that vanished is only counted."""
    other = tmp_path / "site"
    shutil.copytree(site, other, symlinks=True)
    path = other / "locales/ko.json"
    read = json.loads(path.read_text())
    path.write_text(json.dumps({**read, "texts": {**read["texts"], "A text that is gone": "없는 글"}}))
    assert f"ko: {len(texts())} of {len(texts()) + 1} texts" in make(other, UI_LANGUAGE="ko").stdout
    path.write_text(json.dumps({**read, "texts": {**read["texts"], **{f"Gone {n} times": "없음" for n in range(len(texts()))}}}))
    done = make(other, UI_LANGUAGE="ko")
    assert done.returncode == 1
    assert "translate it for the new version" in done.stderr
    assert not (other / "dist").exists()


def test_what_is_left_to_translate_is_listed(site: Path, english: str) -> None:
    make(site)
    done = subprocess.run(["node", "localize.mjs", "--list", "dist"], cwd=site, capture_output=True, text=True, check=False)
    listed = json.loads(done.stdout)["ko"]
    assert listed["vanished"] == []
    assert not set(listed["new"]) & set(texts())


def test_an_upgrade_lists_what_is_new_and_what_vanished(site: Path, english: str, tmp_path: Path) -> None:
    """Of what is not translated only what the UI before did not show: messages of libraries are no work for a translator."""
    before, after = (tmp_path / name for name in ("before", "after"))
    for folder, source in (
        (before, 'f({title:"Of a library"});'),
        (after, 'f({title:"Of a library"});f({title:"New here"});f({title:"Save"})'),
    ):
        (folder / "assets").mkdir(parents=True)
        (folder / "index.html").write_text('<script type="module" crossorigin src="/assets/index-a.js"></script>')
        (folder / "assets/index-a.js").write_text(source)
    command = ["node", "localize.mjs", "--list", str(after), str(before)]
    done = subprocess.run(command, cwd=site, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)["ko"]
    assert listed["new"] == ["New here"]
    assert set(texts()) - set(listed["vanished"]) == {"Save"}
