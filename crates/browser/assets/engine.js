// The WebAssembly module with a model in it, in the thread that imports this; `serve` answers for
// other threads. Part of taper.js, which is what to import.

const DONE = 1, FOREIGN = 2;

/** A picture that cannot be classified, or a model that cannot be opened. */
export class TaperError extends Error {
  name = "TaperError";
}

export class Engine {
  #module;
  #model;
  #wasm = null;
  #handle = 0;
  #starting = null;
  #closed = false;
  /** `{ network, size, classes }`. */
  about = null;

  /**
   * Opens a model.
   * @param {WebAssembly.Module} module
   * @param {Uint8Array} model The content of model.safetensors.
   */
  static async open(module, model) {
    const named = WebAssembly.Module.exports(module).map(({ name }) => name);
    if (!named.includes("taper_explain_pixels")) throw new TaperError("the module is not Taper's");
    const engine = new Engine();
    engine.#module = module;
    engine.#model = model;
    await engine.#start();
    return engine;
  }

  async #start() {
    this.#wasm = (await WebAssembly.instantiate(this.#module)).exports;
    this.#handle = this.#call(this.#wasm.taper_open, this.#model);
    if (!this.#handle) {
      const error = this.#error();
      this.#wasm = null;
      throw error;
    }
    this.about = JSON.parse(this.#answer());
  }

  #answer() {
    const at = this.#wasm.taper_answer(), length = this.#wasm.taper_answer_length();
    return new TextDecoder().decode(new Uint8Array(this.#wasm.memory.buffer, at, length));
  }

  #error() {
    return new TaperError(this.#answer());
  }

  /** Calls with bytes, which are copied to the module; the other arguments stand around them. */
  #call(f, bytes, before = [], after = []) {
    try {
      const at = this.#wasm.taper_allocate(bytes.length);
      new Uint8Array(this.#wasm.memory.buffer, at >>> 0, bytes.length).set(bytes);
      return f(...before, at, bytes.length, ...after);
    } catch (error) {
      // The module has ended, as for want of memory; the next call begins with a new one.
      const reason = this.#answer();
      this.#wasm = null;
      throw new TaperError(reason || `the module ended: ${error.message}`, { cause: error });
    }
  }

  /**
   * Classifies a picture: `{ bytes }`, the content of a file as a Uint8Array; `{ blob }`, the same
   * as a Blob; `{ bitmap }`, an ImageBitmap; or `{ pixels, width, height }`, u8 RGB or RGBA. With
   * `explain` the answer has an activation map.
   */
  async classify(picture, explain = false) {
    if (picture.bitmap) return this.#pixels(pixelsOf(picture.bitmap), explain);
    if (picture.pixels) return this.#pixels(picture, explain);
    const { blob } = picture;
    const bytes = blob ? new Uint8Array(await blob.arrayBuffer()) : picture.bytes;
    while (!this.#wasm) await this.#restart();
    const { taper_classify: plain, taper_explain: explained } = this.#wasm;
    const status = this.#call(explain ? explained : plain, bytes, [this.#handle]);
    if (status === DONE) return this.#prediction();
    const error = this.#error();
    // The browser may have a decoder: AVIF, HEIC.
    if (status === FOREIGN && globalThis.createImageBitmap && globalThis.OffscreenCanvas) {
      const bitmap = await createImageBitmap(blob ?? new Blob([bytes])).catch(() => null);
      if (bitmap) return this.#pixels(pixelsOf(bitmap), explain);
    }
    throw error;
  }

  /** Forgets the module; what is asked afterwards is refused. */
  close() {
    this.#closed = true;
    this.#wasm = null;
    this.#model = null;
  }

  /** Starts another module after a crash. Meanwhile others may ask, and crash it again. */
  async #restart() {
    if (this.#closed) throw new TaperError("the classifier was closed");
    await (this.#starting ??= this.#start().finally(() => { this.#starting = null; }));
  }

  async #pixels({ pixels, width, height }, explain) {
    while (!this.#wasm) await this.#restart();
    const { taper_classify_pixels: plain, taper_explain_pixels: explained } = this.#wasm;
    const bytes = rgba(pixels, width, height);
    const status =
      this.#call(explain ? explained : plain, bytes, [this.#handle], [width, height]);
    if (status !== DONE) throw this.#error();
    return this.#prediction();
  }

  #prediction() {
    const answer = JSON.parse(this.#answer());
    answer.probabilities =
      answer.probabilities.map(([label, probability]) => ({ label, probability }));
    return answer;
  }
}

function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { pixels: context.getImageData(0, 0, width, height).data, width, height };
}

function rgba(pixels, width, height) {
  if (pixels.length !== 3 * width * height) return pixels;
  const filled = new Uint8Array(4 * width * height).fill(255);
  for (let from = 0, to = 0; from < pixels.length; to += 1) {
    for (const end = from + 3; from < end; from += 1, to += 1) filled[to] = pixels[from];
  }
  return filled;
}

/**
 * Answers messages `{ id, open: [module, model] }` and `{ id, picture, explain }` of another
 * thread.
 */
export function serve(port) {
  let opened = null;
  port.onmessage = async ({ data: { id, open, picture, explain } }) => {
    try {
      if (open) {
        opened = Engine.open(...open);
        port.postMessage({ id, value: (await opened).about });
      } else {
        port.postMessage({ id, value: await (await opened).classify(picture, explain) });
      }
    } catch (error) {
      port.postMessage({ id, error: error.message, ours: error instanceof TaperError });
    }
  };
}
