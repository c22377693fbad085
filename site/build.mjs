// Makes dist/: the UI of the server's version, corrected and with this stack's addresses in it.
//
//   node build.mjs
//
// Reads the four VITE_ variables and UI_LANGUAGE (en if it is missing), and for machines without the public index SKYVERN_UI_INDEX_URL (a simple index with JSON answers)
// or SKYVERN_UI_WHEEL (path of the wheel). Ends with one line where anything does not fit. Depends on nothing, and for another language than English on acorn.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { inflateRawSync } from "node:zlib";

import { patch, placeholders } from "./patch.mjs";

const HERE = import.meta.dirname;
const DIST = join(HERE, "dist");
const INSIDE = "skyvern_ui/dist/";
const INDEX_URL = "https://pypi.org/simple";

/** Version and SHA-256 of the wheel, from the line that pip checks when the gateway's image is built. */
export function pinned(requirements) {
  const found = /^skyvern-ui==(\S+) \\\n +--hash=sha256:([0-9a-f]{64})\n/m.exec(requirements);
  if (found === null) {
    throw new Error("ui-requirements.txt: no skyvern-ui with version and hash");
  }
  return { version: found[1], sha256: found[2] };
}

/** The values of the placeholders by name. They go into JavaScript strings: plain URL characters only, as in gateway-start. */
export function values(environment) {
  return Object.fromEntries(
    placeholders.map((placeholder) => {
      const name = placeholder.slice(2, -"_PLACEHOLDER__".length);
      const value = environment[name];
      if (value === undefined) {
        throw new Error(`${name} is not set`);
      }
      if (!/^[A-Za-z0-9:/._-]+$/.test(value)) {
        throw new Error(`${name} is not a plain URL or word`);
      }
      return [placeholder, value];
    }),
  );
}

/** Files of a zip archive: path -> content. Stored and deflated entries, no Zip64: what wheels are. */
export function unzip(archive) {
  // The end record is 22 bytes and a comment; its signature cannot be in front of a shorter comment of a wheel.
  const end = archive.lastIndexOf(Buffer.from("PK\x05\x06"));
  if (end < 0) {
    throw new Error("the wheel is not a zip archive");
  }
  const files = new Map();
  let entry = archive.readUInt32LE(end + 16);
  for (let left = archive.readUInt16LE(end + 10); left > 0; left -= 1) {
    const method = archive.readUInt16LE(entry + 10);
    const packed = archive.readUInt32LE(entry + 20);
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((offset) => archive.readUInt16LE(entry + offset));
    const local = archive.readUInt32LE(entry + 42);
    const name = archive.toString("utf8", entry + 46, entry + 46 + nameLength);
    // The local header repeats the name and has an extra field of its own length.
    const start = local + 30 + archive.readUInt16LE(local + 26) + archive.readUInt16LE(local + 28);
    const content = archive.subarray(start, start + packed);
    if (method !== 0 && method !== 8) {
      throw new Error(`the wheel is packed in a way that is not known here: method ${method}`);
    }
    if (!name.endsWith("/")) {
      files.set(name, method === 8 ? inflateRawSync(content) : content);
    }
    entry += 46 + nameLength + extraLength + commentLength;
  }
  return files;
}

/** Content of a URL. Three tries, because a registry's hiccup should not fail a deployment. */
async function get(url, accept) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const response = await fetch(url, { headers: { accept }, signal: AbortSignal.timeout(60_000) });
      if (!response.ok) {
        throw new Error(`answered ${response.status}`);
      }
      return Buffer.from(await response.arrayBuffer());
    } catch (error) {
      if (attempt === 3) {
        throw new Error(`${url}: ${error.cause?.code ?? error.message}`);
      }
      await new Promise((resolve) => setTimeout(resolve, attempt * 2000));
    }
  }
}

async function wheel({ version, sha256 }, environment) {
  let content;
  if (environment.SKYVERN_UI_WHEEL) {
    content = readFileSync(environment.SKYVERN_UI_WHEEL);
  } else {
    const page = `${(environment.SKYVERN_UI_INDEX_URL || INDEX_URL).replace(/\/$/, "")}/skyvern-ui/`;
    const { files } = JSON.parse((await get(page, "application/vnd.pypi.simple.v1+json")).toString());
    const listed = files.find((file) => file.hashes?.sha256 === sha256);
    if (listed === undefined) {
      throw new Error(`${page}: no file of skyvern-ui ${version} with the hash of ui-requirements.txt`);
    }
    content = await get(new URL(listed.url, page), "*/*");
  }
  if (createHash("sha256").update(content).digest("hex") !== sha256) {
    throw new Error(`the wheel of skyvern-ui ${version} does not have the hash of ui-requirements.txt`);
  }
  return content;
}

/** Writes the UI from the wheel into a folder, which is emptied first. */
function write(files, folder) {
  rmSync(folder, { recursive: true, force: true });
  for (const [name, content] of files) {
    if (name.startsWith(INSIDE)) {
      const path = join(folder, name.slice(INSIDE.length));
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
    }
  }
}

/** Replaces the placeholders in all scripts; throws when one is left in any file. */
export function fill(folder, filled) {
  for (const name of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!name.isFile()) {
      continue;
    }
    const path = join(name.parentPath ?? name.path, name.name);
    // One byte, one character: pictures pass unharmed, and what is replaced is ASCII.
    let text = readFileSync(path, "latin1");
    if (path.endsWith(".js")) {
      for (const [placeholder, value] of Object.entries(filled)) {
        text = text.replaceAll(placeholder, value);
      }
      writeFileSync(path, text, "latin1");
    }
    const left = /__[A-Z0-9_]+_PLACEHOLDER__/.exec(text);
    if (left !== null) {
      throw new Error(`a placeholder of the UI is left in ${name.name}: ${left[0]}`);
    }
  }
}

/** The language of the UI: "en" leaves it as it is published, "browser" leaves the choice to each person's browser. */
function languageOf(environment) {
  const language = environment.UI_LANGUAGE || "en";
  if (!["en", "browser"].includes(language) && !(/^[a-z]{2,3}$/.test(language) && existsSync(join(HERE, "locales", `${language}.json`)))) {
    throw new Error(`UI_LANGUAGE is "${language}"; write en, browser or a language of locales/`);
  }
  return language;
}

async function build(environment) {
  const language = languageOf(environment);
  const filled = { ...values(environment), __UI_LANGUAGE_PLACEHOLDER__: language };
  const ui = pinned(readFileSync(join(HERE, "ui-requirements.txt"), "utf8"));
  write(unzip(await wheel(ui, environment)), DIST);
  patch(DIST);
  if (language !== "en") {
    // Not at the top: a build in English needs no parser.
    const { localize } = await import("./localize.mjs");
    localize(DIST, DIST).forEach((line) => console.log(`build: ${line}`));
  }
  fill(DIST, filled);
  console.log(`build: skyvern-ui ${ui.version} in dist/, language ${language}`);
}

if (process.argv[1] === import.meta.filename) {
  try {
    await build(process.env);
  } catch (error) {
    // No half-made site: a folder without index.html must not be deployed.
    rmSync(DIST, { recursive: true, force: true });
    console.error(`build: ${error.message}`);
    process.exit(1);
  }
}
