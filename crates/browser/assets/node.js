// What taper.js needs of Node.js, and the thread that classifies there.
import { readFile } from "node:fs/promises";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

import { serve } from "./engine.js";

const ROLE = "taper";

if (!isMainThread && workerData === ROLE) serve(parentPort);

/** Whether a text is a path, not an address. */
const isPath = (text) => !/^[a-z]{2,}:/i.test(text);

/** The content of a file, by its path or `file:` URL; null for other addresses. */
export async function read(from) {
  const address = typeof from === "string" && !isPath(from) ? new URL(from) : from;
  if (address instanceof URL && address.protocol !== "file:") return null;
  return Uint8Array.from(await readFile(address));
}

/** A thread that classifies; it does not keep the process alive while it has nothing to do. */
export function worker(onMessage, onError) {
  const thread = new Worker(new URL(import.meta.url), { workerData: ROLE });
  thread.on("message", onMessage);
  thread.on("error", onError);
  thread.unref();
  return {
    post: (message, transfer) => thread.postMessage(message, transfer),
    busy: (busy) => (busy ? thread.ref() : thread.unref()),
    end: () => thread.terminate(),
  };
}
