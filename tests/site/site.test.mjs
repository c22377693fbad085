// The built site against a stand-in of the gateway on loopback. Started by test_site.py, which builds it.
//
// SITE_OUTPUT: folder .vercel/output. SITE_HEADERS: the gateway's headers of the UI as JSON. SITE_MIB: size of the large recording.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import { createServer, request as httpRequest } from "node:http";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { after, before, beforeEach, test } from "node:test";

import { module, serve } from "../../lab/standins/vercel/serve.mjs";

const OUTPUT = process.env.SITE_OUTPUT;
const HEADERS = JSON.parse(process.env.SITE_HEADERS);
const LARGE = Number(process.env.SITE_MIB ?? 64) * 1024 * 1024;
const PASSWORD = "Kx7".padEnd(32, "q");
const KEY = "GatewayKeyOfTheTest0123456789abcdef";
const TOKEN = { token: "ui-session-token", expires_at: 1900000000 };
const LOGIN = `Basic ${Buffer.from(`skyvern:${PASSWORD}`).toString("base64")}`;
const UI = { authorization: LOGIN, "sec-fetch-site": "same-origin" };
const ARTIFACT_POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'";
const FILE = Buffer.from("0123456789".repeat(100));

let site;
let gateway;
let behave;
let asked;
let sent;

before(async () => {
  gateway = createServer((request, response) => {
    asked.push({ method: request.method, url: request.url, headers: request.headers });
    behave(request, response);
  });
  gateway.listen(0, "127.0.0.1");
  await once(gateway, "listening");
  site = await serve(OUTPUT);
});

after(async () => {
  await site.close();
  gateway.closeAllConnections();
  gateway.close();
});

beforeEach(() => {
  const url = `http://127.0.0.1:${gateway.address().port}`;
  Object.assign(process.env, {
    API_URL: url,
    ARTIFACT_URL: url,
    CONTENT_SECURITY_POLICY: HEADERS["Content-Security-Policy"],
    GATEWAY_KEY: KEY,
    UI_LOGIN_SHA256: createHash("sha256").update(`skyvern:${PASSWORD}`).digest("hex"),
  });
  asked = [];
  sent = 0;
  behave = (request, response) => {
    if (request.url === "/ui-session") {
      response.writeHead(200, { "content-type": "application/json", "x-inner": "1", "set-cookie": "a=b" });
      response.end(JSON.stringify(TOKEN));
    } else {
      recording(request, response);
    }
  };
});

/** A file as nginx behind the gateway serves it. */
function recording(request, response) {
  const headers = {
    "content-type": "text/plain; charset=utf-8",
    "content-security-policy": ARTIFACT_POLICY,
    "cache-control": "private, no-store",
    "x-content-type-options": "nosniff",
    "last-modified": "Sun, 22 Nov 2026 10:00:00 GMT",
    etag: '"tag"',
    "accept-ranges": "bytes",
    "set-cookie": "inner=1",
    server: "nginx",
  };
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
  if (request.headers["if-none-match"] === '"tag"') {
    response.writeHead(304, headers).end();
  } else if (range !== null && Number(range[1]) >= FILE.length) {
    response.writeHead(416, { ...headers, "content-range": `bytes */${FILE.length}` }).end();
  } else if (range !== null) {
    const part = FILE.subarray(Number(range[1]), Number(range[2]) + 1);
    const place = `bytes ${range[1]}-${range[2]}/${FILE.length}`;
    response.writeHead(206, { ...headers, "content-range": place, "content-length": part.length }).end(part);
  } else {
    response.writeHead(200, { ...headers, "content-length": FILE.length }).end(request.method === "HEAD" ? undefined : FILE);
  }
}

const get = (path, headers = UI, method = "GET") => fetch(`${site.url}${path}`, { method, headers, redirect: "manual" });

/** Every response: the gateway's headers, and nothing secret. Gives the body. */
async function checked(response, { policy = HEADERS["Content-Security-Policy"], frame = HEADERS["X-Frame-Options"] } = {}) {
  const expected = { ...HEADERS, "Content-Security-Policy": policy, "X-Frame-Options": frame };
  delete expected["Cache-Control"];
  for (const [name, value] of Object.entries(expected)) {
    assert.equal(response.headers.get(name), value, name);
  }
  const body = await response.text();
  for (const secret of [KEY, PASSWORD, process.env.UI_LOGIN_SHA256]) {
    assert.ok(secret === undefined || !`${JSON.stringify([...response.headers])}${body}`.includes(secret));
  }
  assert.equal(response.headers.get("set-cookie"), null);
  return body;
}

/** What console.error gets while `act` runs. */
async function logged(act) {
  const lines = [];
  const original = console.error;
  console.error = (line) => lines.push(line);
  try {
    await act();
  } finally {
    console.error = original;
  }
  return lines;
}

// --- Login ---------------------------------------------------------------------------------------------------------------

test("nothing at all is served without the login", async () => {
  const script = readdirSync(join(OUTPUT, "static/assets")).find((name) => name.endsWith(".js"));
  for (const path of ["/", "/index.html", `/assets/${script}`, "/workflows/1", "/ui-session", "/artifact/image?path=/x", "/none.js"]) {
    const response = await get(path, { "sec-fetch-site": "same-origin" });
    assert.equal(response.status, 401, path);
    assert.match(response.headers.get("www-authenticate"), /^Basic realm=/);
    assert.equal(response.headers.get("cache-control"), "no-store");
    assert.equal(await checked(response), "login needed\n");
  }
  assert.deepEqual(asked, []);
});

test("a wrong login is refused in whatever form", async () => {
  const basic = (text) => `Basic ${Buffer.from(text).toString("base64")}`;
  const wrong = [
    basic(`skyvern:${PASSWORD.slice(0, -1)}`),
    basic(`skyvern:${PASSWORD}x`),
    basic(`admin:${PASSWORD}`),
    basic("skyvern:"),
    basic(""),
    "Basic",
    "Basic ====",
    "Basic a",
    `Bearer ${PASSWORD}`,
    `${LOGIN}, ${LOGIN}`,
    LOGIN.slice("Basic ".length),
    `Basic ${process.env.UI_LOGIN_SHA256}`,
  ];
  for (const authorization of wrong) {
    assert.equal((await get("/", { authorization })).status, 401, authorization);
  }
  // A hash that is not one lets nobody in.
  const hash = process.env.UI_LOGIN_SHA256;
  for (const damaged of [hash.slice(0, -1), `${hash}0`, hash.slice(0, -1) + (hash.endsWith("0") ? "1" : "0"), PASSWORD]) {
    process.env.UI_LOGIN_SHA256 = damaged;
    assert.equal((await get("/")).status, 401, damaged);
  }
});

test("a thousand wrong logins neither lock anybody out nor reach the gateway nor fill the log", async () => {
  const lines = await logged(async () => {
    for (let round = 0; round < 20; round += 1) {
      const attempts = Array.from({ length: 50 }, (_, index) =>
        get("/ui-session", { ...UI, authorization: `Basic ${Buffer.from(`skyvern:${round}-${index}`).toString("base64")}` }),
      );
      for (const response of await Promise.all(attempts)) {
        assert.equal(response.status, 401);
        await response.body.cancel();
      }
    }
  });
  assert.deepEqual(lines, []);
  assert.deepEqual(asked, []);
  assert.equal((await get("/")).status, 200);
});

test("without a variable nobody gets anything, and the log says which", async () => {
  for (const name of ["API_URL", "CONTENT_SECURITY_POLICY", "GATEWAY_KEY", "UI_LOGIN_SHA256"]) {
    const value = process.env[name];
    delete process.env[name];
    const lines = await logged(async () => {
      const response = await get("/");
      assert.equal(response.status, 500);
      assert.equal(await checked(response, { policy: "default-src 'none'; frame-ancestors 'none'" }), "this site is not set up\n");
    });
    assert.deepEqual(lines, [`middleware: not set: ${name}`]);
    process.env[name] = value;
  }
});

// --- Session tokens ------------------------------------------------------------------------------------------------------

test("the UI gets a session token through the gateway's key", async () => {
  const response = await get("/ui-session");
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("cache-control"), "no-store");
  assert.match(response.headers.get("content-type"), /^application\/json/);
  assert.equal(response.headers.get("x-inner"), null);
  assert.deepEqual(JSON.parse(await checked(response)), TOKEN);
  assert.equal(asked.length, 1);
  assert.equal(asked[0].headers["x-gateway-key"], KEY);
  assert.equal(asked[0].headers.authorization, undefined);
});

test("a session request that is not the UI's own is refused", async () => {
  for (const mark of [undefined, "cross-site", "same-site", "none"]) {
    const response = await get("/ui-session", { authorization: LOGIN, ...(mark && { "sec-fetch-site": mark }) });
    assert.equal(response.status, 403, mark);
    await checked(response);
  }
  for (const method of ["POST", "HEAD", "OPTIONS", "DELETE"]) {
    const response = await get("/ui-session", UI, method);
    assert.equal(response.status, 405, method);
    assert.equal(response.headers.get("allow"), "GET");
  }
  assert.deepEqual(asked, []);
});

test("an API that is down, refuses or talks nonsense is a 502 without a word of it", async () => {
  const answers = [
    (response) => response.socket.destroy(),
    (response) => response.writeHead(403).end(`key ${KEY} refused`),
    (response) => response.writeHead(530).end("<html>tunnel error</html>"),
    (response) => response.writeHead(302, { location: "/ui-session?elsewhere" }).end(),
    (response) => response.writeHead(200).end("<html>"),
  ];
  for (const act of answers) {
    // Whoever follows the redirect gets an answer.
    behave = (request, response) => (request.url.endsWith("?elsewhere") ? response.end("{}") : act(response));
    const lines = await logged(async () => {
      const response = await get("/ui-session");
      assert.equal(response.status, 502);
      assert.deepEqual(JSON.parse(await checked(response)), { detail: "the server cannot be reached" });
    });
    assert.equal(lines.length, 1);
    assert.match(lines[0], /^middleware: 127\.0\.0\.1:\d+ (answered \d+|failed: \w+)$/);
  }
});

test("a key that no header can carry is not in the log", async () => {
  process.env.GATEWAY_KEY = "secret\nkey";
  const lines = await logged(async () => assert.equal((await get("/ui-session")).status, 502));
  assert.ok(!lines.join().includes("secret"));
});

test("a slow API is a 504, also when it is slow in the middle of its answer", async () => {
  const { answer } = await module(OUTPUT);
  const request = new Request(`${site.url}/ui-session`, { headers: UI });
  for (const start of [() => {}, (response) => response.writeHead(200).write("{")]) {
    behave = (_, response) => start(response);
    const lines = await logged(async () => {
      const response = await answer(request, process.env, { sessionSeconds: 0.2, artifactSeconds: 0.2 });
      assert.equal(response.status, 504);
      assert.deepEqual(JSON.parse(await checked(response)), { detail: "the server takes too long" });
    });
    assert.match(lines[0], /took longer than 0.2 s$/);
  }
  behave = () => {};
  const recordings = new Request(`${site.url}/artifact/image?path=/x`, { headers: UI });
  await logged(async () => assert.equal((await answer(recordings, process.env, { artifactSeconds: 0.2 })).status, 504));
});

// --- The dashboard -------------------------------------------------------------------------------------------------------

const PAGE = { policy: "default-src 'none'; style-src 'self'" };

test("without a monitor the dashboard's address is the UI's, as every other one", async () => {
  process.env.DASHBOARD_URL = "none";
  const response = await get("/dashboard");
  assert.equal(response.status, 200);
  assert.match(await checked(response), /<div id="root">/);
  assert.deepEqual(asked, []);
});

test("the dashboard comes with the gateway's key, the person's language and without the login", async () => {
  process.env.DASHBOARD_URL = `${process.env.API_URL}/dashboard`;
  behave = (request, response) => {
    const status = { "/dashboard": 200, "/dashboard/days.csv?period=30": 200, "/dashboard/none.csv": 404 }[request.url] ?? 503;
    const headers = { "content-type": "text/html", "content-security-policy": PAGE.policy, "set-cookie": "a=b", server: "uvicorn" };
    response.writeHead(status, { ...headers, "content-disposition": 'attachment; filename="a.csv"', "retry-after": "15" });
    response.end(request.method === "HEAD" ? undefined : "page");
  };
  for (const [path, status] of [["/dashboard", 200], ["/dashboard/days.csv?period=30", 200], ["/dashboard/none.csv", 404], ["/dashboard/", 503]]) {
    const response = await get(path, { ...UI, cookie: "a=b", "x-gateway-key": "of a stranger", "accept-language": "ko" });
    assert.equal(response.status, status, path);
    assert.equal(response.headers.get("cache-control"), "private, no-store");
    assert.equal(response.headers.get("server"), null);
    assert.equal(response.headers.get("content-disposition"), 'attachment; filename="a.csv"');
    assert.equal(await checked(response, PAGE), "page");
    const { headers, url } = asked.at(-1);
    assert.equal(url, path);
    assert.deepEqual([headers.authorization, headers.cookie, headers["x-gateway-key"]], [undefined, undefined, KEY]);
    assert.equal(headers["accept-language"], "ko");
  }
  assert.equal((await get("/dashboard", UI, "POST")).status, 405);
  assert.equal((await get("/dashboard", {})).status, 401);
  assert.equal(asked.length, 4);
  // Another address that begins so is the UI's.
  assert.match(await checked(await get("/dashboards")), /<div id="root">/);
  behave = (_, response) => response.writeHead(403).end();
  await logged(async () => assert.equal((await get("/dashboard")).status, 502));
  process.env.DASHBOARD_URL = "none";
});

// --- Recordings ----------------------------------------------------------------------------------------------------------

const SANDBOX = { policy: ARTIFACT_POLICY, frame: null };
const PATH = "/artifact/text?path=%2Fdata%2Fartifacts%2Fa.txt";

test("a recording comes with the gateway's key and without the login", async () => {
  const response = await get(PATH, { ...UI, cookie: "a=b", "x-gateway-key": "of a stranger" });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("cache-control"), "private, no-store");
  assert.equal(response.headers.get("content-length"), String(FILE.length));
  assert.equal(response.headers.get("server"), null);
  assert.equal(await checked(response, SANDBOX), FILE.toString());
  const [{ headers }] = asked;
  assert.deepEqual([headers.authorization, headers.cookie, headers["x-gateway-key"]], [undefined, undefined, KEY]);
  assert.equal(headers["accept-encoding"], "identity");
});

test("a page of another site gets no recording with the login that the browser adds", async () => {
  for (const mark of ["cross-site", "same-site", ""]) {
    const response = await get(PATH, { authorization: LOGIN, "sec-fetch-site": mark });
    assert.equal(response.status, 403, mark);
    await checked(response);
  }
  assert.deepEqual(asked, []);
  for (const mark of [undefined, "same-origin", "none"]) {
    assert.equal((await get(PATH, { authorization: LOGIN, ...(mark && { "sec-fetch-site": mark }) })).status, 200, mark);
  }
});

test("HEAD, ranges and revalidation keep their meaning", async () => {
  const head = await get(PATH, UI, "HEAD");
  assert.deepEqual([head.status, head.headers.get("content-length"), await head.text()], [200, String(FILE.length), ""]);
  const part = await get(PATH, { ...UI, range: "bytes=10-19", "if-range": '"tag"' });
  assert.deepEqual([part.status, part.headers.get("content-range"), part.headers.get("etag")], [206, "bytes 10-19/1000", '"tag"']);
  assert.equal(asked.at(-1).headers["if-range"], '"tag"');
  assert.equal(await checked(part, SANDBOX), "0123456789");
  const beyond = await get(PATH, { ...UI, range: "bytes=5000-5001" });
  assert.deepEqual([beyond.status, beyond.headers.get("content-range")], [416, "bytes */1000"]);
  const same = await get(PATH, { ...UI, "if-none-match": '"tag"' });
  assert.deepEqual([same.status, await same.text()], [304, ""]);
});

test("odd names arrive as they were sent", async () => {
  const names = ["한글 녹화.txt", "100%.txt", "a#b.txt", "a?b=c&d.txt", "a+b c.txt", "%2e%2e/x.txt", "é\u0301.txt", "a\"<>'.txt"];
  for (const name of names) {
    const path = `/data/downloads/${name}`;
    assert.equal((await get(`/artifact/text?path=${encodeURIComponent(path)}`)).status, 200, name);
    assert.equal(new URL(asked.at(-1).url, "http://x").searchParams.get("path"), path);
  }
  // Not decodable, and not this site's to judge.
  assert.equal((await raw("/artifact/text?path=/a%zz%")).statusCode, 200);
  assert.equal(asked.at(-1).url, "/artifact/text?path=/a%zz%");
});

test("a recording that is not there, or a server that is not, is said in plain words", async () => {
  // 400 is the answer to a path that no file can have, such as file:///etc/passwd.
  for (const status of [404, 400]) {
    behave = (_, response) => response.writeHead(status).end("<html>nginx</html>");
    const none = await get(PATH);
    assert.deepEqual([none.status, await checked(none)], [404, "no such recording\n"]);
  }
  for (const status of [403, 421, 500, 530, 301]) {
    behave = (_, response) => response.writeHead(status).end(`inner ${KEY}`);
    await logged(async () => {
      const response = await get(PATH);
      assert.deepEqual([response.status, await checked(response)], [502, "the server cannot be reached\n"]);
    });
  }
  process.env.ARTIFACT_URL = "none";
  const off = await get(PATH);
  assert.deepEqual([off.status, await checked(off)], [404, "recordings are not published by this stack\n"]);
});

test("an answer without a policy of its own gets a closed one", async () => {
  behave = (_, response) => response.writeHead(200, { "content-type": "text/html" }).end("<script>");
  assert.equal(await checked(await get(PATH), { policy: "sandbox; default-src 'none'", frame: null }), "<script>");
});

/** An answer without fetch's own ideas about addresses and buffers. */
function raw(path) {
  return new Promise((resolve, reject) => {
    const request = httpRequest(`${site.url}/`, { path, headers: UI }, resolve);
    request.on("error", reject).end();
  });
}

/** Sends LARGE bytes as fast as they are taken; `sent` counts. Resolves when all are sent or nobody takes them any more. */
async function large(response) {
  const block = Buffer.alloc(1024 * 1024, 7);
  function* blocks() {
    for (; sent < LARGE; sent += block.length) {
      yield block;
    }
  }
  response.writeHead(200, { "content-type": "video/webm", "content-length": LARGE });
  await pipeline(Readable.from(blocks()), response).catch(() => {});
}

test("a large recording passes without being held", async () => {
  let ended;
  behave = (_, response) => {
    ended = large(response);
  };
  let received = 0;
  let furthest = 0;
  const before = process.memoryUsage.rss();
  let most = before;
  for await (const piece of await raw(PATH)) {
    received += piece.length;
    furthest = Math.max(furthest, sent - received);
    most = Math.max(most, process.memoryUsage.rss());
  }
  await ended;
  assert.equal(received, LARGE);
  assert.ok(furthest < 16 * 1024 * 1024, `the gateway was ${furthest} bytes ahead`);
  console.log(`# ${LARGE >> 20} MiB passed; at most ${furthest >> 20} MiB ahead; memory grew by ${(most - before) >> 20} MiB`);
});

test("when the person leaves, the gateway stops sending", async () => {
  let ended;
  behave = (_, response) => {
    ended = large(response);
  };
  const response = await raw(PATH);
  await once(response, "readable");
  response.destroy();
  await ended;
  assert.ok(sent < LARGE, `${sent} bytes`);
});

// --- The UI --------------------------------------------------------------------------------------------------------------

test("deep links are the UI, missing files are not", async () => {
  const page = readFileSync(join(OUTPUT, "static/index.html"), "utf8");
  for (const path of ["/", "/workflows", "/runs/wr_1/overview?x=a.b", "/agents/%ED%95%9C%EA%B8%80", "/artifacts"]) {
    const response = await get(path);
    assert.equal(response.status, 200, path);
    assert.equal(response.headers.get("cache-control"), HEADERS["Cache-Control"]);
    assert.equal(await checked(response), page, path);
  }
  for (const path of ["/assets/none.js", "/assets/none", "/none.png", "/api/v1/heartbeat", "/a/b.json"]) {
    const response = await get(path);
    assert.equal(response.status, 404, path);
    assert.ok(!(await checked(response)).includes("<html"), path);
  }
});

test("the page's own files are there, and no other method is", async () => {
  const page = await (await get("/")).text();
  const files = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path);
  assert.ok(files.length >= 3);
  for (const path of files) {
    assert.equal((await get(path, UI, "HEAD")).status, 200, path);
  }
  for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
    for (const path of ["/", "/artifact/text?path=/x"]) {
      const response = await get(path, UI, method);
      assert.deepEqual([response.status, response.headers.get("allow")], [405, "GET, HEAD"]);
      await checked(response);
    }
  }
});
