// Serves the output of `vercel build` on loopback, as Vercel would: the middleware first, then files, rewrites and 404.
//
// It knows the routes of config.json that this site uses, and refuses others. Not here: TLS, caching, compression.
import { createReadStream, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { pathToFileURL } from "node:url";

const TYPES = { ".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".mp3": "audio/mpeg", ".png": "image/png" };
const KNOWN = new Set(["check", "continue", "dest", "handle", "middlewarePath", "middlewareRawSrc", "override", "src", "status"]);

/**
 * Starts a server and resolves to { url, close } once it listens. output: the folder .vercel/output. The middleware reads
 * process.env, as on Vercel.
 */
export async function serve(output) {
  const { routes } = JSON.parse(readFileSync(join(output, "config.json"), "utf8"));
  const strange = routes.flatMap((route) => Object.keys(route)).filter((key) => !KNOWN.has(key));
  if (strange.length > 0) {
    throw new Error(`config.json: routes with ${strange.join(", ")}, which this server does not know`);
  }
  const [first] = routes;
  if (first.src !== "^/.*$" || first.middlewarePath !== "middleware") {
    throw new Error("config.json: the middleware is not in front of everything");
  }
  const middleware = await load(output);
  const server = createServer(async (request, response) => {
    try {
      await respond(request, response, { output, routes, middleware });
    } catch (error) {
      response.destroy(error);
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The built middleware's module. */
export async function module(output) {
  return import(pathToFileURL(join(output, "functions/middleware.func/middleware.js")));
}

async function load(output) {
  return (await module(output)).default;
}

async function respond(request, response, { output, routes, middleware }) {
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) {
    headers.set(name, String(value));
  }
  const answer = await middleware(new Request(`http://${request.headers.host}${request.url}`, { method: request.method, headers }));
  if (answer.headers.get("x-middleware-next") !== "1") {
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    if (answer.body === null) {
      response.end();
    } else {
      await pipeline(Readable.fromWeb(answer.body), response);
    }
    return;
  }
  answer.headers.delete("x-middleware-next");
  const kept = Object.fromEntries(answer.headers);
  const path = decoded(new URL(request.url, "http://site").pathname);
  if (path === undefined) {
    response.writeHead(400, { ...kept, "content-type": "text/plain" }).end("Bad request\n");
    return;
  }
  const file = find(join(output, "static"), path, routes);
  if (file === undefined) {
    response.writeHead(404, { ...kept, "content-type": "text/plain" }).end("The page could not be found\n");
    return;
  }
  response.writeHead(200, { ...kept, "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
  if (request.method === "HEAD") {
    response.end();
  } else {
    await pipeline(createReadStream(file), response);
  }
}

/** A path without percent encoding; undefined if its encoding is wrong. */
function decoded(path) {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}

/** The file of a path: itself, an index.html, or that of the first rewrite behind the file system that has a file. */
function find(folder, path, routes) {
  const direct = existing(folder, path) ?? existing(folder, join(path, "index.html"));
  if (direct !== undefined) {
    return direct;
  }
  const start = routes.findIndex((route) => route.handle === "filesystem");
  const end = routes.findIndex((route) => route.handle === "error");
  const rewrite = routes.slice(start + 1, end).find((route) => new RegExp(route.src).test(path));
  return rewrite === undefined ? undefined : existing(folder, rewrite.dest);
}

function existing(folder, path) {
  const file = normalize(join(folder, path));
  const inside = file.startsWith(`${folder}/`);
  return inside && statSync(file, { throwIfNoEntry: false })?.isFile() ? file : undefined;
}
