// An image classifier that runs where it is: in a browser, nothing is uploaded.
//
//   import { classify } from "./taper.js";
//   const [best] = await classify(file);
//
// The types are in taper.d.ts.

import { Engine, TaperError } from "./engine.js";

export { TaperError };

const IN_NODE = typeof process === "object" && Boolean(process.versions?.node)
  && typeof document === "undefined";
/** By its name alone, so that bundlers for browsers do not look into it. */
const NODE = "./node.js";
/** What Node.js has in place of fetch for files, and of Worker; null in browsers. */
const platform = async () => (IN_NODE ? import(/* webpackIgnore: true */ /* @vite-ignore */ NODE) : null);

/** A module with an instruction of relaxed SIMD. */
const RELAXED = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0,
  10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11,
);

const ownModule = () => (WebAssembly.validate(RELAXED)
  ? new URL("./taper-relaxed.wasm", import.meta.url)
  : new URL("./taper.wasm", import.meta.url));

/** Opens a model: by default the one beside this file. */
export async function load({
  model = new URL("./model.safetensors", import.meta.url),
  module = ownModule(),
  worker = true,
  onProgress = () => {},
} = {}) {
  const thread = worker ? new Thread(await platform()) : null;
  try {
    const loaded = await Promise.allSettled([compile(module), content(model, onProgress)]);
    for (const { reason } of loaded) if (reason) throw reason;
    const [code, bytes] = loaded.map(({ value }) => value);
    return new Classifier(thread ? await thread.open(code, bytes) : await Engine.open(code, bytes));
  } catch (error) {
    thread?.close();
    throw error;
  }
}

let own = null;

/** Classifies a picture with the model beside this file, which the first call loads. */
export async function classify(image, options) {
  own ??= load();
  try {
    return await (await own).classify(image, options);
  } catch (error) {
    // What could not be loaded may be there the next time.
    await own.catch(() => { own = null; });
    throw error;
  }
}

class Classifier {
  #engine;

  constructor(engine) {
    this.#engine = engine;
    ({ classes: this.classes, network: this.network, size: this.size } = engine.about);
  }

  /** The classes with their probabilities, the most probable first. */
  async classify(image, { top = Infinity } = {}) {
    const { probabilities } = await this.predict(image);
    return probabilities.sort((a, b) => b.probability - a.probability).slice(0, Math.max(0, top));
  }

  /** All that the model has to say of a picture; with `explain`, also where it saw it. */
  async predict(image, { explain = false } = {}) {
    return this.#engine.classify(await picture(image), Boolean(explain));
  }

  /** Ends the thread; what has not been answered is refused. */
  close() {
    this.#engine.close();
  }
}

/** An engine in a thread of its own. */
class Thread {
  #port;
  #waiting = new Map();
  #last = 0;
  #ended = null;

  constructor(node) {
    const settle = ({ id, value, error, ours }) => {
      const [done, fail] = this.#waiting.get(id) ?? [];
      this.#waiting.delete(id);
      if (this.#waiting.size === 0) this.#port.busy(false);
      if (error === undefined) done?.(value);
      else fail?.(ours ? new TaperError(error) : new Error(error));
    };
    const end = (error) => this.#end(`the thread that classifies ended: ${error.message}`);
    this.#port = node ? node.worker(settle, end) : browserWorker(settle, end);
  }

  /** A module that was compiled here need not be compiled there. */
  async open(module, model) {
    this.about = await this.#ask({ open: [module, model] }, [model.buffer]);
    return this;
  }

  #ask(message, transfer = []) {
    if (this.#ended) return Promise.reject(new TaperError(this.#ended));
    return new Promise((done, fail) => {
      const id = ++this.#last;
      try {
        this.#port.post({ id, ...message }, transfer);
      } catch (error) {
        // A picture of another site, which a page may show but not read.
        fail(new TaperError(`the picture cannot be used: ${error.message}`, { cause: error }));
        return;
      }
      this.#waiting.set(id, [done, fail]);
      this.#port.busy(true);
    });
  }

  classify(picture, explain) {
    return this.#ask({ picture, explain }, picture.bitmap ? [picture.bitmap] : []);
  }

  close() {
    this.#end("the classifier was closed");
  }

  #end(reason) {
    this.#ended ??= reason;
    this.#port.end();
    for (const [, fail] of this.#waiting.values()) fail(new TaperError(this.#ended));
    this.#waiting.clear();
  }
}

function browserWorker(onMessage, onError) {
  let worker;
  try {
    worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  } catch {
    // Of another origin, as from a CDN: browsers take such a worker only by way of an own one.
    const script = `import ${JSON.stringify(new URL("./worker.js", import.meta.url).href)};`;
    const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    worker = new Worker(address, { type: "module" });
  }
  worker.onmessage = ({ data }) => onMessage(data);
  worker.onerror = (event) => {
    event.preventDefault?.();
    onError({ message: event.message ?? "worker.js cannot be loaded" });
  };
  return {
    post: (message, transfer) => worker.postMessage(message, transfer),
    busy: () => {},
    end: () => worker.terminate(),
  };
}

/** A picture in one of the forms that an engine takes. */
async function picture(image) {
  if (image instanceof URL || typeof image === "string") {
    return { bytes: await content(image) };
  }
  // By their names: what comes from another frame is not an instance of this one's classes.
  const kind = Object.prototype.toString.call(image).slice(8, -1);
  if (kind === "ArrayBuffer" || ArrayBuffer.isView(image)) return { bytes: compact(image) };
  if (isPixels(image)) return { pixels: compact(image.data), width: image.width, height: image.height };
  if (kind === "Blob" || kind === "File") return { blob: image };
  if (typeof createImageBitmap === "function" && image && typeof image === "object") {
    // Elements that show something: an image that is still on its way is awaited.
    if (typeof image.decode === "function") await image.decode().catch(() => {});
    try {
      return { bitmap: await createImageBitmap(image) };
    } catch (error) {
      throw new TaperError(`the picture cannot be used: ${error.message}`, { cause: error });
    }
  }
  throw new TypeError(
    "a picture is a File, Blob, ArrayBuffer, Uint8Array, URL, ImageData or { data, width, height }"
      + (IN_NODE ? " or a path" : ", or an element that shows one"),
  );
}

const isPixels = (image) => ArrayBuffer.isView(image?.data) && image.data.BYTES_PER_ELEMENT === 1
  && [3, 4].includes(image.data.length / (image.width * image.height));

/** Bytes without the rest of the buffer that they are a part of, which a message would copy. */
function compact(from) {
  if (!ArrayBuffer.isView(from)) return new Uint8Array(from);
  const bytes = new Uint8Array(from.buffer, from.byteOffset, from.byteLength);
  return bytes.length < from.buffer.byteLength ? bytes.slice() : bytes;
}

/** The content of a file, as a Uint8Array of its own. */
async function content(from, onProgress = () => {}) {
  if (!(from instanceof URL || typeof from === "string")) return compact(from).slice();
  const file = await (await platform())?.read(from).catch((error) => {
    throw new TaperError(`${from} cannot be read: ${error.message}`, { cause: error });
  });
  if (file) {
    onProgress(file.length, file.length);
    return file;
  }
  const response = await fetched(from);
  // The length of compressed content is another one.
  const encoded = response.headers.get("Content-Encoding");
  const total = (!encoded && Number(response.headers.get("Content-Length"))) || null;
  const parts = [];
  let length = 0;
  try {
    for (const reader = response.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      length += value.length;
      onProgress(length, total);
    }
  } catch (error) {
    throw new TaperError(`${from} ends early: ${error.message}`, { cause: error });
  }
  const bytes = new Uint8Array(length);
  parts.reduce((at, part) => (bytes.set(part, at), at + part.length), 0);
  return bytes;
}

async function fetched(address) {
  let response;
  try {
    response = await fetch(address);
  } catch (error) {
    throw new TaperError(`${address} cannot be loaded: ${error.message}`, { cause: error });
  }
  if (response.ok) return response;
  throw new TaperError(`${address} cannot be loaded: ${response.status} ${response.statusText}`);
}

async function compile(from) {
  if (from instanceof WebAssembly.Module) return from;
  const address = from instanceof URL || typeof from === "string";
  try {
    if (IN_NODE || !address) return await WebAssembly.compile(await content(from));
    const response = await fetched(from);
    // Compiled while it arrives, if the server says what it is.
    return await (response.headers.get("Content-Type") === "application/wasm"
      ? WebAssembly.compileStreaming(response)
      : WebAssembly.compile(await response.arrayBuffer()));
  } catch (error) {
    if (error instanceof TaperError) throw error;
    const named = address ? from : "the module";
    throw new TaperError(`${named} cannot be compiled: ${error.message}`, { cause: error });
  }
}
