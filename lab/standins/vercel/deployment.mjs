// One deployment in a separate thread, whose process.env is the project's variables. Started by platform.mjs.
import tls from "node:tls";
import { parentPort, workerData } from "node:worker_threads";

import { serve } from "./serve.mjs";

const { output, names } = workerData;

// In the place of DNS: the rehearsal's names lead to its edge. fetch has no option for it, and connects here.
const connect = tls.connect;
tls.connect = (options, ...rest) => {
  const ours = options.host === names.domain || options.host?.endsWith(`.${names.domain}`);
  return connect(ours ? { ...options, host: names.host, port: names.port } : options, ...rest);
};

const { url } = await serve(output);
parentPort.postMessage({ port: Number(new URL(url).port) });
