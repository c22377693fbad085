// The language of the UI: chosen before the UI starts, which asks `__text` for each text that it shows (texts.mjs, localize.mjs).
//
// A file of the site, not part of a page: the content security policy allows no script in one. Every text falls back to its English.
const SETTING = "__UI_LANGUAGE_PLACEHOLDER__";
const KEPT = "skyvern-ui-language";
const NAMES = { en: "English" /* languages */ };

const isKnown = (language) => Object.hasOwn(NAMES, language);

function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    // Storage is off: the browser's language decides each time.
    return null;
  }
}

function chosen() {
  if (SETTING !== "browser") {
    return SETTING;
  }
  const wanted = [kept(), ...navigator.languages.map((tag) => tag.split("-")[0])];
  return wanted.find(isKnown) ?? "en";
}

const language = isKnown(chosen()) ? chosen() : "en";

async function dictionary() {
  if (language === "en") {
    return {};
  }
  try {
    const answer = await fetch(`/languages/${language}.json`);
    return answer.ok ? await answer.json() : {};
  } catch {
    // English is better than no page.
    return {};
  }
}

const { texts = {}, words = {}, phrases = [] } = await dictionary();
const rules = phrases.map(([from, to]) => [new RegExp(from, "g"), to]);
// A look-up is made at each drawing of each text: without a prototype, it is one access, and "constructor" is no text.
Object.setPrototypeOf(texts, null);
Object.setPrototypeOf(words, null);

/** The text in the page's language. */
const text = (english) => texts[english] ?? english;

// A text's words, and between them the numbers of its values; each text is taken apart once.
const taken = new Map();
function pieces(pattern) {
  let found = taken.get(pattern);
  if (found === undefined) {
    found = pattern.split(/\{(\d+)\}/);
    taken.set(pattern, found);
  }
  return found;
}

// Korean particles have a form behind a consonant and one behind a vowel: a dictionary writes both, "을(를)", as a person does who cannot
// know the word in front.
const PARTICLES = { "을(를)": ["을", "를"], "은(는)": ["은", "는"], "이(가)": ["이", "가"], "과(와)": ["과", "와"], "(으)로": ["으로", "로"] };
const PARTICLE = /^([”’]?)(을\(를\)|은\(는\)|이\(가\)|과\(와\)|\(으\)로)/;
const RIEUL = 8;

/** Words behind a value, with the particle's form that its last syllable asks for; as they are behind what is no Hangul. */
function behind(value, words) {
  const last = typeof value === "string" ? value.charCodeAt(value.length - 1) - 0xac00 : -1;
  if (!(last >= 0 && last < 11172)) {
    return words;
  }
  return words.replace(PARTICLE, (_, quote, both) => {
    const final = last % 28;
    return quote + PARTICLES[both][final === 0 || (both === "(으)로" && final === RIEUL) ? 1 : 0];
  });
}

/** The pieces of a pattern with the values in their places. */
function fill(pattern, valueOf) {
  const filled = [];
  pieces(pattern).forEach((piece, index) => {
    filled.push(index % 2 ? valueOf(piece) : index === 0 ? piece : behind(filled[index - 1], piece));
  });
  return filled;
}

/** A text with {0}, {1} ... in it, and what belongs there. */
text.of = (english, ...values) => fill(text(english), (index) => String(values[index])).join("");

/** A number with its word, such as {0} runs; `own` is the UI's own text, whose word is also the one for 1. */
text.count = (english, own, ...values) => (english in texts ? text.of(english, ...values) : own);

/**
 * Children whose words make the row `english`, with {0}, {1} ... for the ones at the indexes `others`; as they are where the language
 * has no such row.
 */
text.parts = (english, children, others) =>
  english in texts ? fill(texts[english], (index) => children[others[index]]) : children;

/** A word of the API's, such as the status of a run. */
text.word = (word) => words[word] ?? word;

/** A phrase that a library of the UI makes, such as "At 09:00 AM, only on Monday"; English if anything of it stays English. */
text.phrase = (english) => {
  const translated = rules.reduce((phrase, [from, to]) => phrase.replace(from, to), english);
  return /[A-Za-z]{2}/.test(translated) ? english : translated;
};

/** The names of countries by their codes. */
text.regions = (own) => {
  if (language === "en") {
    return own;
  }
  const names = new Intl.DisplayNames(language, { type: "region" });
  return Object.fromEntries(Object.keys(own).map((code) => [code, names.of(code)]));
};

/** The language of dates and numbers; in English the UI's own choice. */
text.locale = (own) => (language === "en" ? own : language);

/** A weekday in a letter or two, 0 for Sunday; the first of January 2023 was one. */
text.weekday = (day, own) =>
  language === "en"
    ? own
    : new Intl.DateTimeFormat(language, { weekday: "narrow", timeZone: "UTC" }).format(new Date(Date.UTC(2023, 0, 1 + day)));

globalThis.__text = text;
document.documentElement.lang = language;

/** The choice in the corner, where the stack leaves it to the person: the page starts again in the other language. */
function addSwitch() {
  const select = document.createElement("select");
  select.id = "ui-language";
  select.setAttribute("aria-label", "Language");
  for (const [code, name] of Object.entries(NAMES)) {
    select.append(new Option(name, code, false, code === language));
  }
  select.addEventListener("change", () => {
    try {
      localStorage.setItem(KEPT, select.value);
    } catch {
      return;
    }
    location.reload();
  });
  document.body.append(select);
}

if (SETTING === "browser") {
  addSwitch();
}
await import("__UI_MAIN__");
