// Serves deployments on one port of loopback, chosen by the Host header, as Vercel's edge chooses them.
//
//   node platform.mjs PORT DOMAIN EDGE_HOST EDGE_PORT
//
// Standard input: lines with a JSON object each, the state from now on,
//   { "deployments": { ID: { "output": FOLDER, "variables": {...} } }, "hosts": { HOST: { "id": ID, "protected": BOOLEAN } } }
// and standard output: "listening" once, then a line for every line, when all of its deployments answer. A deployment that is
// missing in the latest line is ended with all of its requests. Ends with its standard input. Not here: TLS, building.
import { createServer, request as httpRequest } from "node:http";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream";
import { Worker } from "node:worker_threads";

const [port, domain, edgeHost, edgePort] = process.argv.slice(2);
const names = { domain, host: edgeHost, port: Number(edgePort) };
const running = new Map();
let hosts = {};

/** Starts a deployment; its port comes with the first message. */
async function start({ output, variables }) {
  const worker = new Worker(new URL("./deployment.mjs", import.meta.url), { workerData: { output, names }, env: variables });
  const message = await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
  return { worker, port: message.port };
}

async function follow(wanted) {
  for (const [id, { worker }] of running) {
    if (!(id in wanted.deployments)) {
      running.delete(id);
      await worker.terminate();
    }
  }
  for (const [id, deployment] of Object.entries(wanted.deployments)) {
    if (!running.has(id)) {
      running.set(id, await start(deployment));
    }
  }
  hosts = wanted.hosts;
}

function forward(request, response) {
  const host = (request.headers.host ?? "").replace(/:\d+$/, "").toLowerCase();
  const deployment = running.get(hosts[host]?.id);
  if (hosts[host]?.protected) {
    response.writeHead(401, { "content-type": "text/plain" }).end("Authentication Required\n");
    return;
  }
  if (deployment === undefined) {
    response.writeHead(404, { "content-type": "text/plain" }).end("The deployment could not be found.\n\nDEPLOYMENT_NOT_FOUND\n");
    return;
  }
  const { method, url, headers } = request;
  const inner = httpRequest({ host: "127.0.0.1", port: deployment.port, method, path: url, headers });
  inner.on("response", (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    pipeline(answer, response, () => {});
  });
  inner.on("error", () => (response.headersSent ? response.destroy() : response.writeHead(502).end("FUNCTION_INVOCATION_FAILED\n")));
  response.on("close", () => inner.destroy());
  request.pipe(inner);
}

const server = createServer(forward);
await new Promise((resolve) => server.listen(Number(port), "127.0.0.1", resolve));
console.log("listening");
for await (const line of createInterface({ input: process.stdin })) {
  await follow(JSON.parse(line));
  console.log("serving");
}
process.exit(0);
