// Finds the texts of a compiled script that a person sees: in its syntax tree, by the place where a text is used.
//
// The UI has no translation of its own and is published compiled, so its texts can be told from data by their place only: a child of
// an element or its title is shown, a value that is compared, stored or sent is not.
import { createRequire } from "node:module";

// require(), because Debian's package is found by it alone.
const { parse } = createRequire(import.meta.url)("acorn");

// What an element shows. Its other properties (value, name, className ...) are data.
const SHOWN_BY_ELEMENTS = new Set(
  `children aria-label ariaLabel placeholder title content label description heading help helpText helpTooltip fallback tooltip prompt
  collapsedTitle minimizeLabel altText alt pickerTitle addButtonText primary supporting meta stoppedHint stoppedLabel srLabel detail lead
  emptyText condition reversibilityNote reason badge triggerLabel triggerTooltip disabledReason sectionLabel confirmLabel cancelLabel
  restingCaption subtitle hint`.split(/\s+/),
);
// What other objects hold for an element: entries of menus and lists, notices, tours.
const SHOWN_BY_OBJECTS = new Set(
  `title label description detail guidance hint badge word text message body heading buttonLabel suggestionTitle suggestionDescription caption
  successDescription errorDescription helpText srLabel nullActionLabel coverageTag filterLabel line lineWithoutProposal tip summary note meta
  error`.split(/\s+/),
);
// Functions whose texts are names of keys, headers and events, or go to the browser's console.
const NOT_SHOWN_BY_CALLS = new Set(
  `get set has delete includes append add setAttribute getAttribute removeAttribute startsWith endsWith indexOf lastIndexOf error warn info log
  debug addEventListener removeEventListener querySelector querySelectorAll phrase split replace replaceAll join setItem getItem removeItem
  defineProperty test match createElement createElementNS stringify on off emit capture accessor Set Map Symbol RegExp post put patch`.split(/\s+/),
);
const COMPARED_BY_CALLS = new Set(["includes", "indexOf", "startsWith", "endsWith", "has", "get", "set"]);
const COMPARISONS = new Set(["===", "!==", "==", "!=", "in"]);
const FORMATS = new Set(["toLocaleString", "toLocaleDateString", "toLocaleTimeString"]);
const LETTERS = /\p{L}{2}/u;
// A template with words in it is a text, however short.
const TEMPLATE = { sentence: true, word: true };
// How long something took: "2m 5s".
const DURATION = /^(\{\d\}[smhd] ?)+$/;

// The compiler writes a text with quotation marks in it as a template without expressions.
const isPlainTemplate = (node) => node?.type === "TemplateLiteral" && node.expressions.length === 0;
const isText = (node) => (node?.type === "Literal" && typeof node.value === "string") || isPlainTemplate(node);
const valueOf = (node) => (isPlainTemplate(node) ? node.quasis[0].value.cooked : node.value);
const name = (node) => node.name ?? node.value ?? (node.property && name(node.property));

function isElement(node) {
  switch (node?.type) {
    case "CallExpression":
      return /^jsxs?$/.test(name(node.callee) ?? "");
    case "LogicalExpression":
      return isElement(node.right);
    case "ConditionalExpression":
      return [node.consequent, node.alternate].every((branch) => isElement(branch) || (branch.type === "Literal" && branch.value === null));
    default:
      return false;
  }
}

/** Whether the last node of the path is the value of its parent in some case: a branch of ?:, a side of ||, the end of a comma list. */
function passes(parent, child) {
  switch (parent.type) {
    case "ConditionalExpression":
      return parent.test !== child;
    case "LogicalExpression":
      return true;
    case "SequenceExpression":
      return parent.expressions.at(-1) === child;
    default:
      return false;
  }
}

/** What takes the value at the end of a path of nodes: {by: "element" | "object" | "call" | "other", name, object, direct, list}. */
function taker(path) {
  let index = path.length - 2;
  let child = path.at(-1);
  const climb = () => {
    while (passes(path[index], child)) {
      child = path[index];
      index -= 1;
    }
  };
  climb();
  const list = path[index].type === "ArrayExpression";
  if (list) {
    child = path[index];
    index -= 1;
    climb();
  }
  const parent = path[index];
  const direct = child === path.at(-1);
  if (parent.type === "Property") {
    if (parent.key === child) {
      return { by: "key" };
    }
    const object = path[index - 1];
    const owner = path[index - 2];
    const by = isElement(owner) && owner.arguments[1] === object ? "element" : "object";
    return { by, name: String(name(parent.key)), object, direct, list };
  }
  if ((parent.type === "CallExpression" || parent.type === "NewExpression") && parent.callee !== child) {
    return { by: "call", name: name(parent.callee), call: parent, direct, list };
  }
  if (parent.type === "AssignmentPattern" && path[index - 1].type === "Property" && SHOWN_BY_ELEMENTS.has(keyOf(path[index - 1]))) {
    // What an element shows if it is told nothing else: ({ confirmLabel: c = "Delete" }) => ...
    return { by: "element", name: keyOf(path[index - 1]), direct, list };
  }
  return { by: parent.type, operator: parent.operator, node: parent, child, direct, list };
}

const isSnake = (key) => /^[a-z]+(_[a-z0-9]+)+$/.test(key);
const keyOf = (property) => (property.type === "Property" ? String(name(property.key)) : "");

/**
 * Whether an object is sent or becomes part of a workflow. One with a key such as `block_type` is a request's body, and one with
 * `debuggable` holds the first values of a new block.
 */
function isSent({ name: own, object }) {
  if (object.properties.some((property) => keyOf(property) === "debuggable")) {
    return true;
  }
  return !isSnake(own) && object.properties.some((property) => isSnake(keyOf(property)) && !isText(property.value));
}

/** A table of words by the API's names for them: {for_loop: "For Loop", action: "Browser Action"}. */
function isTable({ object }) {
  return object.properties.some((property) => isSnake(keyOf(property))) && object.properties.every(({ value }) => isText(value) || value?.type === "Identifier");
}

/** Whether a text is shown where it is used. `sentence`: it has several words, so it is no name of anything. */
function isShown(use, { sentence, word }) {
  switch (use.by) {
    case "element":
      return SHOWN_BY_ELEMENTS.has(use.name);
    case "object":
      return (sentence || (word && (SHOWN_BY_OBJECTS.has(use.name) || isTable(use)))) && use.name !== "name" && !isSent(use);
    case "call":
      if (NOT_SHOWN_BY_CALLS.has(use.name)) {
        return false;
      }
      // Lists of details are filled by calls such as add(rows, "Prompt", block.prompt).
      return (
        sentence ||
        (word && use.direct && use.call.arguments.some((a) => (a.type === "MemberExpression" && a.object.type === "Identifier") || a.type === "CallExpression"))
      );
    case "key":
    case "SwitchCase":
    case "ImportExpression":
      return false;
    case "BinaryExpression":
      return sentence && use.operator === "+";
    case "ReturnStatement":
    case "ArrowFunctionExpression":
    case "AssignmentPattern":
    case "VariableDeclarator":
    case "TemplateLiteral":
      return sentence || (word && !use.list);
    default:
      return sentence;
  }
}

/** Whether a text is one of several that a template with words in it may hold: "off" in `AI is ${on ? "on" : "off"}`. */
function isChosenFor(use, path) {
  if (use.by !== "TemplateLiteral" || use.direct || !LETTERS.test(use.node.quasis.map((quasi) => quasi.value.cooked).join(""))) {
    return false;
  }
  return isShown(taker(path.slice(0, path.indexOf(use.node) + 1)), TEMPLATE);
}

/** A template or a list of children as one text: {0}, {1} ... for what is between its words. */
function pattern(pieces) {
  let index = 0;
  return pieces.map((piece) => piece ?? `{${index++}}`).join("");
}

/** The plural of a word behind a number, "runs" of `x === 1 ? "run" : "runs"`, or null for another expression. */
function pluralOf(node) {
  const { type, test, consequent, alternate } = node;
  if (type !== "ConditionalExpression" || !COMPARISONS.has(test.operator) || test.right.value !== 1) {
    return null;
  }
  const words = [consequent, alternate];
  return words.every((word) => isText(word) && LETTERS.test(valueOf(word))) ? valueOf(words[test.operator.startsWith("=") ? 1 : 0]) : null;
}

/** A number and its word, {text: "{0} runs", others: [0]}, of pieces without another word; null where there is none. */
function countOf(pieces) {
  const words = pieces.map((piece) => (isText(piece) ? valueOf(piece) : pluralOf(piece)));
  const others = pieces.flatMap((piece, index) => (words[index] === null ? [index] : []));
  const isCount = others.length > 0 && pieces.some((piece) => !isText(piece) && pluralOf(piece) !== null);
  return isCount ? { text: pattern(words), others } : null;
}

/** The number and its word of a template such as `${n} ${n === 1 ? "run" : "runs"}`; others: the expressions that are no words. */
function countOfTemplate({ quasis, expressions }) {
  const plurals = expressions.map(pluralOf);
  const others = expressions.filter((_, index) => plurals[index] === null);
  // What is written twice must have no effect.
  if (others.length === 0 || others.length === expressions.length || !others.every(({ type }) => ["Identifier", "MemberExpression"].includes(type))) {
    return null;
  }
  return { text: pattern(quasis.flatMap((quasi, index) => [...(index === 0 ? [] : [plurals[index - 1]]), quasi.value.cooked])), others };
}

/** A list of children as one text, with the indexes of the `others` that are no words; null where each of them stands for itself. */
function sentenceOf(elements) {
  if (elements.length < 2 || elements.some((element) => element === null || element.type === "SpreadElement")) {
    return null;
  }
  const texts = elements.filter(isText);
  if (!texts.some((text) => LETTERS.test(valueOf(text)))) {
    return countOf(elements);
  }
  // An icon before or behind a word is no part of a sentence.
  const alone = texts.length === 1 && (isText(elements[0]) || isText(elements.at(-1)));
  if (alone && elements.every((element) => isText(element) || isElement(element))) {
    return null;
  }
  return {
    text: pattern(elements.map((element) => (isText(element) ? valueOf(element) : null))),
    others: elements.flatMap((element, index) => (isText(element) ? [] : [index])),
  };
}

function* children(node) {
  for (const key in node) {
    const value = node[key];
    if (Array.isArray(value)) {
      yield* value.filter((child) => typeof child?.type === "string");
    } else if (typeof value?.type === "string") {
      yield value;
    }
  }
}

/**
 * The texts that are shown, in the order of the source, as {form, text, start, end, ...}.
 *
 * form: "text", a literal; "template", with `gaps`, the ranges of source between its expressions; "count", a template of a number and
 * its word, with `values`, the sources of what is no word; "parts", a list of children; "locale", the place of a format's language, with
 * `given`, its source or "". Parts and the texts in them are both listed; `others` are the indexes of the children that are no words.
 */
export function shownTexts(source) {
  const found = [];
  const compared = new Set();
  const path = [];
  const visit = (node) => {
    path.push(node);
    const parent = path.at(-2);
    if (isText(node) && LETTERS.test(valueOf(node)) && parent.type !== "TaggedTemplateExpression") {
      const text = valueOf(node);
      const use = taker(path);
      if (
        (use.by === "BinaryExpression" && COMPARISONS.has(use.operator)) ||
        use.by === "SwitchCase" ||
        (use.by === "call" && COMPARED_BY_CALLS.has(use.name)) ||
        (use.by === "MemberExpression" && use.list)
      ) {
        compared.add(text);
      }
      const sentence = /\S\s+\S/.test(text);
      const chosen = isChosenFor(use, path);
      if (chosen || isShown(use, { sentence, word: /^\p{Lu}\p{Ll}/u.test(text) })) {
        const certain = chosen || use.by === "element" || (use.by === "object" && (SHOWN_BY_OBJECTS.has(use.name) || isTable(use)));
        found.push({ form: "text", text, start: node.start, end: node.end, certain });
      }
    } else if (node.type === "TemplateLiteral" && node.expressions.length > 0 && parent.type !== "TaggedTemplateExpression") {
      const fixed = node.quasis.map((quasi) => quasi.value.cooked);
      const text = pattern(fixed.flatMap((piece, index) => (index === 0 ? [piece] : [null, piece])));
      const use = taker(path);
      const count = LETTERS.test(fixed.join("")) ? null : countOfTemplate(node);
      const lasts = DURATION.test(text) && ["element", "ReturnStatement", "ArrowFunctionExpression"].includes(use.by);
      if (lasts || (LETTERS.test(fixed.join("")) && !fixed.some((piece) => /\{\d/.test(piece)) && isShown(use, TEMPLATE))) {
        const ends = [...node.expressions.map((expression) => expression.start), node.end];
        const starts = [node.start, ...node.expressions.map((expression) => expression.end)];
        found.push({ form: "template", text, start: node.start, end: node.end, gaps: starts.map((start, index) => [start, ends[index]]) });
      } else if (count !== null && isShown(use, TEMPLATE)) {
        const values = count.others.map((expression) => source.slice(expression.start, expression.end));
        found.push({ form: "count", text: count.text, start: node.start, end: node.end, values });
      }
    } else if (node.type === "ArrayExpression" && parent.type === "Property" && taker([...path, node.elements[0] ?? node]).by === "element" && name(parent.key) === "children") {
      const sentence = sentenceOf(node.elements);
      if (sentence !== null && !/\{\d[^}]/.test(sentence.text)) {
        found.push({ form: "parts", ...sentence, start: node.start, end: node.end });
      }
    } else if (node.type === "CallExpression" || node.type === "NewExpression") {
      const range = localeOf(node, source);
      if (range !== null) {
        found.push({ form: "locale", text: "", ...range });
      }
    }
    for (const child of children(node)) {
      visit(child);
    }
    path.pop();
  };
  visit(parse(source, { ecmaVersion: "latest", sourceType: "module" }));
  return found.filter((place) => place.form !== "text" || place.certain || !compared.has(place.text));
}

/** Where a call formats a date or number for a person: the range of its language. Formats that are read again name no weekday. */
function localeOf(call, source) {
  const [first] = call.arguments;
  const american = first?.value === "en-US";
  if (call.callee.type === "MemberExpression" && FORMATS.has(name(call.callee.property)) && !call.callee.computed) {
    if (first === undefined) {
      return { start: call.end - 1, end: call.end - 1, given: "" };
    }
    return american ? { start: first.start, end: first.end, given: '"en-US"' } : null;
  }
  if (name(call.callee) === "DateTimeFormat" && call.arguments.length === 2) {
    const own = source.slice(first.start, first.end) === "void 0";
    const weekday = call.arguments[1].properties?.some((property) => name(property.key ?? {}) === "weekday");
    return own || (american && weekday) ? { start: first.start, end: first.end, given: source.slice(first.start, first.end) } : null;
  }
  return null;
}
