// Makes the UI speak the languages of locales/: wraps the texts that it shows, and adds what chooses the language at start.
//
//   node localize.mjs DIST OUT         writes the files that change into OUT, or fails and says what does not fit
//   node localize.mjs --list DIST [BEFORE]
//                                      lists what each language does not translate yet, and what the UI shows no more; with the
//                                      folder of another version, of what is not translated only what that one did not show
//
// Run by both builds of the UI after patch.mjs: the gateway image's and build.mjs. A new language is a file in locales/.
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { replace } from "./patch.mjs";
import { shownTexts } from "./texts.mjs";

const HERE = import.meta.dirname;
const LOCALES = join(HERE, "locales");
const PLACE = /<script type="module" crossorigin src="(\/assets\/(index-[\w-]+\.js))"><\/script>/;

// A share of a language's texts that this UI must still show: with less, it is another UI than the one that was translated.
const LEAST_USED = 0.9;

// Places that wrap() cannot tell: words of the API's, such as statuses and kinds of blocks, phrases that a library makes, a word with a second meaning, and
// a text that is the value of a field which nobody can change.
export const replacements = [
  { what: "the status of a run", from: 'const s=t==="timed_out"?"timed out":t,o=', to: 'const s=__text.word(t==="timed_out"?"timed out":t),o=', count: 1 },
  { what: "the status of a block", from: 'const n=e?e.replace("_"," "):t?', to: 'const n=e?__text.word(e.replace("_"," ")):t?', count: 1 },
  { what: "the kind of an added block", from: "D$t(h.block_type)", to: "__text.word(D$t(h.block_type))", count: 1 },
  { what: "the status of the run that is watched", from: 'e===Jt.TimedOut?"timed out":e}', to: '__text.word(e===Jt.TimedOut?"timed out":e)}', count: 1 },
  { what: "what a stream shows", from: 'const lxe="browser session"', to: 'const lxe=__text.word("browser session")', count: 1 },
  { what: "what two-factor messages hold", from: 'p=d?"magic links":"codes"', to: 'p=__text.word(d?"magic links":"codes")', count: 1 },
  { what: "what can be sent by a program", from: '(h?"magic links":"codes")', to: '(__text.word(h?"magic links":"codes"))', count: 1 },
  {
    what: "what an inbox is searched for",
    from: '(d?p:"verification codes and magic links"),(t?"Gmail or Outlook":"Gmail")',
    to: '(d?p:__text.word("verification codes and magic links")),(t?__text.word("Gmail or Outlook"):"Gmail")',
    count: 1,
  },
  { what: "the status of an attempt", from: 'children:K.replace("_"," ")', to: 'children:__text.word(K.replace("_"," "))', count: 1 },
  {
    what: "when a schedule runs",
    from: "return ern.toString(e,{use24HourTimeFormat:!1,verbose:!1})",
    to: "return __text.phrase(ern.toString(e,{use24HourTimeFormat:!1,verbose:!1}))",
    count: 1,
  },
  {
    what: "how often a schedule runs",
    from: "return t===1?`Every ${n}`:`Every ${t} ${n}s`",
    to: "return __text.phrase(t===1?`Every ${n}`:`Every ${t} ${n}s`)",
    count: 1,
  },
  { what: "the letter of a weekday", from: "children:K.short},K.value)", to: "children:__text.weekday(K.value,K.short)},K.value)", count: 1 },
  { what: "the interval of a schedule", from: 'return`${t} ${n}${t===1?"":"s"}`}function EFe', to: 'return __text.phrase(`${t} ${n}${t===1?"":"s"}`)}function EFe', count: 1 },
  {
    what: "whether a browser is open, which is no button",
    from: 'className:"w-[8%] truncate",children:__text("Open")',
    to: 'className:"w-[8%] truncate",children:__text.word("Open")',
    count: 1,
  },
  { what: "when something was made, which is no status", from: 'children:__text("Created")', to: 'children:__text.word("Created")', count: 4 },
  { what: "when something began, which is no status", from: 'children:__text("Started")', to: 'children:__text.word("Started")', count: 2 },
  { what: "one of the lines while a page waits", from: '"Backpropagating..."', to: '__text("Backpropagating...")', count: 1 },
  {
    what: "the branch of a condition that has no expression",
    from: 'value:p.is_default?"Executed when no other condition matches":',
    to: 'value:p.is_default?__text("Executed when no other condition matches"):',
    count: 1,
  },
  { what: "a day and its time", from: "return`${r}, ${s}`}function cc(e)", to: 'return r+__text.word(", ")+s}function cc(e)', count: 1 },
  { what: "the names of countries", from: /q9=(\{US:"United States",[^}]*\})/, to: "q9=__text.regions($1)", count: 1 },
  { what: "whose a profile is", from: "children:jRt[c]", to: "children:__text.word(jRt[c])", count: 1 },
  { what: "whose a profile in a list is", from: /children:jpe\((\w)\)/, to: "children:__text.word(jpe($1))", count: 2 },
  { what: "how sure the model was of an action", from: 'fa(t,"Confidence"', to: 'fa(t,__text("Confidence")', count: 1 },
  { what: "the status of an action", from: 'fa(t,__text("Status"),e.status', to: 'fa(t,__text("Status"),__text.word(e.status)', count: 1 },
  {
    what: "how a run of Copilot's ended",
    from: '"timed out":e===Jt.Terminated?__text("was terminated"):"failed"',
    to: '__text.word("timed out"):e===Jt.Terminated?__text("was terminated"):__text.word("failed")',
    count: 1,
  },
  { what: "the status of Copilot's test", from: "` · ${e.status??__text", to: "` · ${__text.word(e.status)??__text", count: 1 },
  {
    what: "the statuses within sentences",
    from: /(__text\.of\("(?:There's no browser left to stream — status|It's no longer live — status|The stream is connected and the \w+ status is)[^"]*",)\((e)\)/,
    to: "$1(__text.word($2))",
    count: 7,
  },
  { what: "the status of a stream that ended", from: /(is still \{1\}[^"]*",\(t\),)\(e\)/, to: "$1(__text.word(e))", count: 1 },
  { what: "statuses in tables and beside names", from: /children:(\w+)\.status\}\)/, to: "children:__text.word($1.status)})", count: 4 },
  { what: "the status of an agent in a notice", from: '"Agent Block {0}: {1}",(n),(e.status)', to: '"Agent Block {0}: {1}",(n),(__text.word(e.status))', count: 1 },
  { what: "the status of a run in a notice", from: '"The {0} run has {1}.",(Ke),(ze.status)', to: '"The {0} run has {1}.",(Ke),(__text.word(ze.status))', count: 1 },
  { what: "the status that is tried again", from: '"Remove {0} condition",(f.status)', to: '"Remove {0} condition",(__text.word(f.status))', count: 1 },
  { what: "the status in a notification's title", from: '"Agent Run Status Change: {0}",(r)', to: '"Agent Run Status Change: {0}",(__text.word(r))', count: 1 },
  { what: "the status in a notification", from: /(changed to status: \{1\}",\(.*?\),)\(r\)/, to: "$1(__text.word(r))", count: 1 },
  // Words that are compared elsewhere, such as names of keys, and tables by names of the UI's own.
  { what: "what is done with an input", from: '__text("Edit"):"Add"', to: '__text("Edit"):__text("Add")', count: 1 },
  { what: "an action that failed", from: 'n?"Error":_y(', to: 'n?__text("Error"):_y(', count: 1 },
  { what: "a notice of a credential", from: 'Rn="Error")', to: 'Rn=__text("Error"))', count: 1 },
  { what: "that a run keeps no profile", from: 'FRt(r):"None"', to: 'FRt(r):__text("None")', count: 1 },
  { what: "an answer of one's own", from: 'choice_id:TL,text:"Other"', to: 'choice_id:TL,text:__text("Other")', count: 1 },
  { what: "a changed description", from: 'r.push("Description")', to: 'r.push(__text("Description"))', count: 1 },
  { what: "a changed model", from: 'ape={model:"Model"', to: 'ape={model:__text("Model")', count: 1 },
  { what: "details of a block", from: /fa\(n,("(?:Body|Headers)")/, to: "fa(n,__text($1)", count: 2 },
  {
    what: "kinds of values",
    from: 'nOt={parameter:"Inputs",output:__text("Block Outputs"),system:"System"}',
    to: 'nOt={parameter:__text("Inputs"),output:__text("Block Outputs"),system:__text("System")}',
    count: 1,
  },
  { what: "what started a run", from: '[xw.Scheduled]:"Scheduled"', to: '[xw.Scheduled]:__text("Scheduled")', count: 1 },
  {
    what: "kinds of a session's events",
    from: 'hcn={action:"Action",download:"Download",recording:"Recording"}',
    to: 'hcn={action:__text("Action"),download:__text("Download"),recording:__text("Recording")}',
    count: 1,
  },
  { what: "what an action does", from: 't="Click":e.action_type===vi.Hover?t="Hover"', to: 't=__text("Click"):e.action_type===vi.Hover?t=__text("Hover")', count: 1 },
  // What is counted by a function, which makes the plural of any word.
  {
    what: "what Copilot counts",
    from: /(function (?:\$w|M4|EL)\(e,t\)\{return )(e===1\?`1 \$\{t\}`:`\$\{e\} \$\{t\}s`)/,
    to: "$1__text.count(`{0} ${t}s`,$2,e)",
    count: 3,
    texts: ["{0} accounts", "{0} account runs", "{0} unfinished account runs", "{0} runs", "{0} credentials", "{0} saved credentials"],
  },
  {
    what: "what uses a profile",
    from: 'function PW(e,t){return`${e} ${t}${e===1?"":"s"}`}',
    to: 'function PW(e,t){return __text.count(`{0} ${t}s`,`${e} ${t}${e===1?"":"s"}`,e)}',
    count: 1,
    texts: ["{0} credentials", "{0} agents", "{0} recent runs"],
  },
  {
    what: "Copilot's steps by their number",
    from: "function jL(e,t,n){return e===1?`1 ${t}`:`${e} ${n}`}",
    to: "function jL(e,t,n){return __text.count(`{0} ${n}`,e===1?`1 ${t}`:`${e} ${n}`,e)}",
    count: 1,
    texts: ["{0} browser actions", "{0} other steps"],
  },
  {
    what: "the blocks that Copilot changes",
    from: /n\.push\(`\$\{([lc])\} \$\{jL\((.*?),"block","blocks"\)\}`\)/,
    to: 'n.push(__text.count(`${$1} {0} blocks`,`${$1} ${jL($2,"block","blocks")}`,$2))',
    count: 2,
    texts: ["adding", "added", "editing", "edited", "deleting", "deleted"].map((done) => `${done} {0} blocks`),
  },
  {
    what: "the blocks that Copilot did not change",
    from: 'n.push(__text.of("tried to {0} {1}",(a),',
    to: 'n.push(__text.of("tried to {0} {1}",(__text.word(a)),',
    count: 1,
  },
  {
    what: "the accounts of a test by their ends",
    from: "return s>0?`${s} ${r}`:null",
    to: "return s>0?__text.count(`{0} ${r}`,`${s} ${r}`,s):null",
    count: 1,
    texts: ["{0} completed", "{0} failed", "{0} may have acted", "{0} canceled"],
  },
  { what: "how far a test of accounts is", from: "return[MYt[e.status]", to: "return[__text.word(MYt[e.status])", count: 1 },
];

// Texts of the dictionary that are translated at such a place: those that it names, and `texts`, those that it puts together.
const replacedTexts = replacements.flatMap(({ to, texts = [] }) => [...texts, ...[...to.matchAll(/__text\("([^"]+)"\)/g)].map(([, text]) => text)]);

/** The languages by code; throws with one line where a file is not one. */
export function languages() {
  return Object.fromEntries(
    readdirSync(LOCALES)
      .filter((name) => name.endsWith(".json"))
      .sort()
      .map((name) => {
        const read = JSON.parse(readFileSync(join(LOCALES, name), "utf8"));
        for (const [english, translated] of Object.entries(read.texts)) {
          const unknown = (translated.match(/\{\d+\}/g) ?? []).find((part) => !english.includes(part));
          if (unknown !== undefined) {
            throw new Error(`locales/${name}: ${JSON.stringify(english)} has no ${unknown}`);
          }
        }
        return [name.slice(0, -".json".length), read];
      }),
  );
}

/** The source with each text of `wanted` asked for by its English, and the `used` ones of them. */
export function wrap(source, wanted) {
  if (source.includes("__text")) {
    throw new Error("this UI has a name __text itself");
  }
  const edits = [];
  const used = new Set();
  for (const { form, text, start, end, given, gaps, others, values } of shownTexts(source)) {
    const quoted = JSON.stringify(text);
    if (form === "locale") {
      edits.push([start, end, `__text.locale(${given})`]);
    } else if (wanted.has(text)) {
      used.add(text);
      if (form === "text") {
        edits.push([start, end, `__text(${quoted})`]);
      } else if (form === "parts") {
        edits.push([start, start, `__text.parts(${quoted},`], [end, end, `,[${others}])`]);
      } else if (form === "count") {
        edits.push([start, start, `__text.count(${quoted},`], [end, end, `,${values})`]);
      } else {
        gaps.forEach(([from, to], index) => {
          const put = index === 0 ? `__text.of(${quoted},(` : index === gaps.length - 1 ? "))" : "),(";
          edits.push([from, to, put]);
        });
      }
    }
  }
  // What ends at an offset comes before what begins there.
  edits.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const pieces = [];
  let done = 0;
  for (const [start, end, put] of edits) {
    const before = source.slice(done, start);
    // A quotation mark may follow `return` at once, a name may not.
    const apart = /^\w/.test(put) && /[\w$]$/.test(before) ? " " : "";
    pieces.push(before, apart, put);
    done = end;
  }
  return { source: pieces.join("") + source.slice(done), used };
}

/** Whether a script still has the names that it gave to others. */
function sameExports(before, after) {
  const list = (source) => source.match(/\bexport\s*\{[^}]*\}/g)?.join("");
  return list(before) === list(after);
}

/** Writes the page, its main script, the choice of the language and the languages into `out`; what it did, a line for each language. */
export function localize(dist, out) {
  const page = readFileSync(join(dist, "index.html"), "utf8");
  const [tag, url, main] = PLACE.exec(page) ?? [];
  if (tag === undefined) {
    throw new Error("index.html has no main script where one is expected; this UI is not the version that localize.mjs was written for");
  }
  const known = languages();
  const wanted = new Set(Object.values(known).flatMap(({ texts }) => Object.keys(texts)));
  const before = readFileSync(join(dist, "assets", main), "utf8");
  const { source, used } = wrap(before, wanted);
  const script = { text: source };
  replace([script], replacements, "localize.mjs");
  replacedTexts.forEach((text) => used.add(text));
  const after = script.text;
  // Throws where the result is no script any more.
  shownTexts(after);
  if (!sameExports(before, after)) {
    throw new Error(`${main} no longer exports what the other scripts ask it for`);
  }
  const lines = Object.entries(known).map(([code, { texts }]) => {
    const all = Object.keys(texts);
    const hits = all.filter((text) => used.has(text)).length;
    if (hits < all.length * LEAST_USED) {
      throw new Error(`locales/${code}.json: this UI shows ${hits} of its ${all.length} texts; translate it for the new version (node localize.mjs --list DIST)`);
    }
    return `${code}: ${hits} of ${all.length} texts`;
  });
  mkdirSync(join(out, "assets"), { recursive: true });
  mkdirSync(join(out, "languages"), { recursive: true });
  writeFileSync(join(out, "assets", main), after);
  for (const [code, content] of Object.entries(known)) {
    writeFileSync(join(out, "languages", `${code}.json`), JSON.stringify(content));
  }
  const names = Object.entries(known).map(([code, { name }]) => `, ${JSON.stringify(code)}: ${JSON.stringify(name)}`);
  const language = readFileSync(join(HERE, "language.js"), "utf8").replace(" /* languages */", names.join("")).replace("__UI_MAIN__", url);
  writeFileSync(join(out, "language.js"), language);
  copyFileSync(join(HERE, "language.css"), join(out, "language.css"));
  const head = `<link rel="modulepreload" crossorigin href="${url}">\n    <link rel="stylesheet" href="/language.css">\n    <script type="module" src="/language.js"></script>`;
  writeFileSync(join(out, "index.html"), page.replace(tag, head));
  return lines;
}

/** The texts that the UI in a folder shows, also those that `replacements` translate. */
function shownIn(dist) {
  const [, , main] = PLACE.exec(readFileSync(join(dist, "index.html"), "utf8")) ?? [];
  if (main === undefined) {
    throw new Error(`${dist}/index.html has no main script where one is expected`);
  }
  const source = readFileSync(join(dist, "assets", main), "utf8");
  // The UI makes the plural of a word itself.
  const inSource = (text) => text.match(/\p{L}+/gu).every((word) => source.includes(word.replace(/s$/, "")));
  return new Set([...shownTexts(source).map((place) => place.text), ...replacedTexts.filter(inSource)]);
}

/** For each language the texts that it lacks, in the order of the source, and its texts that the UI shows no more. */
function list(dist, before) {
  const shown = shownIn(dist);
  const known = before === undefined ? new Set() : shownIn(before);
  return Object.fromEntries(
    Object.entries(languages()).map(([code, { texts }]) => {
      const lacking = [...shown].filter((text) => text !== "" && !Object.hasOwn(texts, text) && !known.has(text));
      return [code, { new: lacking, vanished: Object.keys(texts).filter((text) => !shown.has(text)) }];
    }),
  );
}

if (process.argv[1] === import.meta.filename) {
  try {
    if (process.argv[2] === "--list") {
      console.log(JSON.stringify(list(process.argv[3], process.argv[4]), null, 2));
    } else {
      console.log(localize(process.argv[2], process.argv[3]).map((line) => `localize: ${line}`).join("\n"));
    }
  } catch (error) {
    console.error(`localize: ${error.message}`);
    process.exit(1);
  }
}
