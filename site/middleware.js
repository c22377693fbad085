// Runs on Vercel before every request, files included: login, session tokens, recordings and the headers of every response.
//
// Web APIs only. In the Node.js runtime: the edge runtime is deprecated for middleware (Vercel CLI 59.25).
// Not here: deep links (vercel.json) and who may ask for which recording (the gateway and its artifact server).
import { next } from "@vercel/functions/middleware";

export const config = { runtime: "nodejs" };

// As the gateway sends them with the UI (components/host/gateway.py); the policy comes from there as a variable.
export const SECURITY_HEADERS = {
  "Cross-Origin-Resource-Policy": "same-origin",
  "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
  "Referrer-Policy": "same-origin",
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
};

// Without any of them nobody gets anything. ARTIFACT_URL may be missing or "none": then there are no recordings.
const REQUIRED = ["API_URL", "CONTENT_SECURITY_POLICY", "GATEWAY_KEY", "UI_LOGIN_SHA256"];

// How long the gateway may take for the head of its answer. Vercel's own limit is 25 s in either runtime.
export const LIMITS = { sessionSeconds: 10, artifactSeconds: 20, dashboardSeconds: 15 };

// Of a request for the dashboard, whose pages are in the person's language; above all not the login and no cookie.
const ASKED = ["accept", "accept-language"];
const SHOWN = ["cache-control", "content-disposition", "content-security-policy", "content-type", "retry-after"];

// Of a request for a recording; above all not the login and no cookie.
const FORWARDED = ["accept", "if-modified-since", "if-none-match", "if-range", "range"];
const RETURNED = [
  "accept-ranges",
  "cache-control",
  "content-disposition",
  "content-length",
  "content-range",
  "content-security-policy",
  "content-type",
  "etag",
  "last-modified",
];

export default function middleware(request) {
  return answer(request, process.env);
}

/**
 * The response to a request, or the platform's sign to go on to the files.
 *
 * environment: variables by name; see README.md. limits: see LIMITS.
 */
export async function answer(request, environment, limits = LIMITS) {
  const missing = REQUIRED.filter((name) => !environment[name]);
  if (missing.length > 0) {
    console.error(`middleware: not set: ${missing.join(", ")}`);
    return refusal(500, "this site is not set up", "default-src 'none'; frame-ancestors 'none'");
  }
  const policy = environment.CONTENT_SECURITY_POLICY;
  if (!(await isLogin(request.headers.get("authorization"), environment.UI_LOGIN_SHA256))) {
    return refusal(401, "login needed", policy, { "WWW-Authenticate": 'Basic realm="Skyvern", charset="UTF-8"' });
  }
  const { pathname, search } = new URL(request.url);
  if (pathname === "/ui-session") {
    return session(request, environment, limits.sessionSeconds);
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    return refusal(405, "method not allowed", policy, { Allow: "GET, HEAD" });
  }
  if (pathname.startsWith("/artifact/")) {
    // The browser adds the login to a link or an image of a foreign page, too. Programs send no such header.
    if (!["same-origin", "none", null].includes(request.headers.get("sec-fetch-site"))) {
      return refusal(403, "recordings are for the UI's own pages", policy);
    }
    return artifact(request, `${pathname}${search}`, environment, limits.artifactSeconds);
  }
  if (environment.DASHBOARD_URL !== "none" && (pathname === "/dashboard" || pathname.startsWith("/dashboard/"))) {
    const address = `${environment.DASHBOARD_URL}${pathname.slice("/dashboard".length)}${search}`;
    return dashboard(request, address, environment, limits.dashboardSeconds);
  }
  return next({ headers: { ...SECURITY_HEADERS, "Cache-Control": "private, no-cache", "Content-Security-Policy": policy } });
}

/**
 * Whether the header carries the login: SHA-256 of "user:password" against 64 hex digits, in constant time.
 *
 * A fast hash is enough, because the password is generated: 32 characters of 62, about 190 bits, cannot be tried out. A slow one
 * would cost every request of the page, and hand strangers a way to keep the site busy.
 */
export async function isLogin(header, expected) {
  const credentials = /^Basic +([A-Za-z0-9+/]+={0,2})$/i.exec(header ?? "")?.[1];
  let bytes;
  try {
    bytes = Uint8Array.from(atob(credentials ?? ""), (character) => character.charCodeAt(0));
  } catch {
    return false;
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const actual = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  let difference = actual.length ^ expected.length;
  for (let index = 0; index < actual.length; index += 1) {
    difference |= actual.charCodeAt(index) ^ expected.charCodeAt(index);
  }
  return difference === 0;
}

/** A session token of the UI, which the gateway gives to whoever has its key. The UI shows the detail of an error. */
async function session(request, environment, seconds) {
  const reply = (status, body, headers) =>
    Response.json(body, {
      status,
      headers: {
        ...SECURITY_HEADERS,
        "Cache-Control": "no-store",
        "Content-Security-Policy": environment.CONTENT_SECURITY_POLICY,
        ...headers,
      },
    });
  if (request.method !== "GET") {
    return reply(405, { detail: "method not allowed" }, { Allow: "GET" });
  }
  // Browsers always send it and no page can forge it; without it, this is no page of ours.
  if (request.headers.get("sec-fetch-site") !== "same-origin") {
    return reply(403, { detail: "only the UI may ask for a session" });
  }
  const headers = { accept: "application/json", "x-gateway-key": environment.GATEWAY_KEY };
  const { status, result } = await ask(`${environment.API_URL}/ui-session`, { headers }, seconds, (upstream) => upstream.json());
  return status === 200 ? reply(200, result) : reply(status, { detail: problem(status) });
}

/** A recording as the gateway gives it, piece by piece. */
async function artifact(request, path, environment, seconds) {
  const policy = environment.CONTENT_SECURITY_POLICY;
  if ((environment.ARTIFACT_URL || "none") === "none") {
    return refusal(404, "recordings are not published by this stack", policy);
  }
  const address = `${environment.ARTIFACT_URL}${path}`;
  const { status, result } = await handOn(FORWARDED, request, address, environment, seconds, [200, 206, 304, 400, 404, 416]);
  // 400: a path that no file can have.
  if (status === 400 || status === 404) {
    await result.body?.cancel();
    return refusal(404, "no such recording", policy);
  }
  if (result === undefined) {
    return refusal(status, problem(status), policy);
  }
  const returned = new Headers({
    ...SECURITY_HEADERS,
    "Cache-Control": "private, no-store",
    // A page from the internet can become a recording; the artifact server says the same.
    "Content-Security-Policy": "sandbox; default-src 'none'",
  });
  // As on the gateway, the UI's own pages may frame them.
  returned.delete("X-Frame-Options");
  copy(RETURNED, result.headers, returned);
  return new Response(result.body, { status, headers: returned });
}

/** A page of the monitor as the gateway gives it to whoever has its key. It sends its own policy, without scripts. */
async function dashboard(request, address, environment, seconds) {
  // 503: the monitor's own page, which says that the database does not answer.
  const { status, result } = await handOn(ASKED, request, address, environment, seconds, [200, 404, 503]);
  if (result === undefined) {
    return refusal(status, problem(status), environment.CONTENT_SECURITY_POLICY);
  }
  const returned = new Headers({
    ...SECURITY_HEADERS,
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
  });
  copy(SHOWN, result.headers, returned);
  return new Response(result.body, { status, headers: returned });
}

/** The request with the gateway's key, and of its headers those of these names alone; as `ask`. */
async function handOn(names, request, address, environment, seconds, expected) {
  // A compressed answer would be unpacked here, and its length and ranges would be wrong.
  const headers = new Headers({ "x-gateway-key": environment.GATEWAY_KEY, "accept-encoding": "identity" });
  copy(names, request.headers, headers);
  return ask(address, { method: request.method, headers }, seconds, (upstream) => upstream, expected);
}

/**
 * Status and what `read` makes of the gateway's answer, while the limit runs; 502 or 504 and nothing for any other than the
 * expected statuses, for no answer and for a late one. The log says why, never with an address's query or a header in it.
 */
async function ask(url, init, seconds, read, expected = [200]) {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), seconds * 1000);
  const host = new URL(url).host;
  try {
    const upstream = await fetch(url, { ...init, redirect: "manual", signal: late.signal });
    if (expected.includes(upstream.status)) {
      return { status: upstream.status, result: await read(upstream) };
    }
    await upstream.body?.cancel();
    console.error(`middleware: ${host} answered ${upstream.status}`);
    return { status: 502 };
  } catch (error) {
    if (late.signal.aborted) {
      console.error(`middleware: ${host} took longer than ${seconds} s`);
      return { status: 504 };
    }
    // Not the message: it can quote a header.
    console.error(`middleware: ${host} failed: ${error.cause?.code ?? error.name}`);
    return { status: 502 };
  } finally {
    clearTimeout(timer);
  }
}

function problem(status) {
  return status === 504 ? "the server takes too long" : "the server cannot be reached";
}

function copy(names, from, to) {
  for (const name of names) {
    const value = from.get(name);
    if (value !== null) {
      to.set(name, value);
    }
  }
}

function refusal(status, text, policy, headers) {
  return new Response(`${text}\n`, {
    status,
    headers: {
      ...SECURITY_HEADERS,
      "Cache-Control": "no-store",
      "Content-Security-Policy": policy,
      "Content-Type": "text/plain; charset=utf-8",
      ...headers,
    },
  });
}
