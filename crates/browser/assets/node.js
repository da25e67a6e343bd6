// What taper.js needs of Node.js, and the thread that classifies there.
import { readFile } from "node:fs/promises";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

import { serve } from "./engine.js";

const ROLE = "taper";

if (!isMainThread && workerData === ROLE) serve(parentPort);

/** Whether a text is a path, not an address. */
export const isPath = (text) => !/^(https?|data|blob|file):/.test(text);

/** Reads a file by its path or `file:` URL. */
export const read = (file) => readFile(file);

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
