// An exported model in Node.js and in headless Chromium, alone or beside ONNX Runtime Web.
//
//     node web.mjs ROUNDS EXPORTED PICTURE CHROMIUM [ONNX NODE_MODULES]
//
// EXPORTED is the folder of `taper export --format web`, ONNX the same model as a file, CHROMIUM the
// browser or "-" for none. Prints one line of JSON, `{ case: { unit, taper: […], peer: […] } }`, with a
// figure for each round. Both have one thread and SIMD, and take turns.

import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

import { start } from "../../../tests/page/chromium.mjs";
import { serveFolder } from "../../../tests/web/server.mjs";

const SIZE = 224;
/** Pictures of a burst. */
const BURST = 20;

const [rounds, exported, picture, chromium, onnx, modules] = process.argv.slice(2);
const place = mkdtempSync(join(tmpdir(), "taper-bench-web-"));
process.on("exit", () => rmSync(place, { recursive: true, force: true }));
const figures = {};
function note(name, unit, own, peer) {
  const row = figures[name] ??= { unit, taper: [], peer: [] };
  row.taper.push(own);
  if (peer !== undefined) row.peer.push(peer);
}

/** The same in a page as here: what both are measured by. */
const MEASURE = `async (classify) => {
  for (let n = 0; n < 3; n += 1) await classify();
  const begin = performance.now();
  for (let n = 0; n < ${BURST}; n += 1) await classify();
  return 1000 * ${BURST} / (performance.now() - begin);
}`;
const measure = (0, eval)(MEASURE);

// Pixels of the exact size, so that only the network is compared.
const rgba = Uint8ClampedArray.from({ length: 4 * SIZE * SIZE }, (_, at) => at % 4 === 3 ? 255 : (at * 7919) % 251);
const rgb = Uint8Array.from(rgba.filter((_, at) => at % 4 !== 3));

async function inNode() {
  const taper = await import(pathToFileURL(join(resolve(exported), "taper.js")));
  const classifier = await taper.load({ worker: false });
  const own = () => classifier.predict({ data: rgba, width: SIZE, height: SIZE });
  let peer;
  if (onnx) {
    const ort = await import(pathToFileURL(join(resolve(modules), "onnxruntime-web/dist/ort.node.min.mjs")));
    ort.env.wasm.numThreads = 1;
    const session = await ort.InferenceSession.create(readFileSync(onnx));
    peer = () => session.run({ pixels: new ort.Tensor("uint8", rgb, [1, SIZE, SIZE, 3]) });
  }
  for (let round = 0; round < rounds; round += 1) {
    note("node-network", "pictures/s", await measure(own), peer && await measure(peer));
  }
}

const page = (script) => `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script type="module">${script}
const file = await (await fetch("/picture")).blob();
const answer = await classify(file);
window.first = performance.now();
window.classify = () => classify(file);
window.network = network;
</script>`;

const OURS = `
import { load } from "/taper/taper.js";
const classifier = await load();
const classify = (file) => classifier.predict(file);
const pixels = Uint8ClampedArray.from({ length: 4 * ${SIZE * SIZE} }, (_, at) => at % 4 === 3 ? 255 : (at * 7919) % 251);
const network = () => classifier.predict({ data: pixels, width: ${SIZE}, height: ${SIZE} });
`;
// As its documentation shows it, with the resize by a canvas, and without a worker, whose messages take
// time.
const PEER = `
import * as ort from "/ort/ort.wasm.bundle.min.mjs";
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: "/ort/ort-wasm-simd-threaded.wasm" };
const session = await ort.InferenceSession.create("/model.onnx");
const canvas = new OffscreenCanvas(${SIZE}, ${SIZE});
const context = canvas.getContext("2d", { willReadFrequently: true });
const run = (pixels) => session.run({ pixels: new ort.Tensor("uint8", pixels, [1, ${SIZE}, ${SIZE}, 3]) });
const classify = async (file) => {
  const bitmap = await createImageBitmap(file);
  const side = Math.min(bitmap.width, bitmap.height) * 0.875;
  context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, ${SIZE}, ${SIZE});
  bitmap.close();
  const { data } = context.getImageData(0, 0, ${SIZE}, ${SIZE});
  const pixels = new Uint8Array(3 * ${SIZE * SIZE});
  for (let from = 0, to = 0; to < pixels.length; from += 4) {
    pixels[to++] = data[from];
    pixels[to++] = data[from + 1];
    pixels[to++] = data[from + 2];
  }
  return (await run(pixels)).probabilities.data;
};
const pixels = Uint8Array.from({ length: 3 * ${SIZE * SIZE} }, (_, at) => (at * 7919) % 251);
const network = () => run(pixels);
`;

async function inChromium() {
  cpSync(exported, join(place, "taper"), { recursive: true });
  copyFileSync(picture, join(place, "picture"));
  writeFileSync(join(place, "ours.html"), page(OURS));
  if (onnx) {
    mkdirSync(join(place, "ort"));
    const dist = join(modules, "onnxruntime-web/dist");
    for (const name of ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"]) {
      copyFileSync(join(dist, name), join(place, "ort", name));
    }
    copyFileSync(onnx, join(place, "model.onnx"));
    writeFileSync(join(place, "peer.html"), page(PEER));
  }
  const server = await serveFolder(place);
  const tab = await start(chromium, 600);
  await tab.page("Network.setCacheDisabled", { cacheDisabled: true });
  const visit = async (name) => {
    server.sent.length = 0;
    await tab.go(`${server.url}${name}`);
    await tab.until("window.network");
    const weights = (path) => /model\.(safetensors|onnx)$/.test(path);
    const code = server.sent.filter(([path]) => !weights(path) && path !== "/picture");
    const value = {
      first: await tab.run("first"),
      bytes: code.reduce((sum, [, bytes]) => sum + bytes, 0),
      network: await tab.run(`(${MEASURE})(network)`),
      file: await tab.run(`(${MEASURE})(classify)`),
    };
    await tab.go("about:blank");
    return value;
  };
  for (let round = 0; round < rounds; round += 1) {
    const ours = await visit("ours.html");
    const peer = onnx ? await visit("peer.html") : {};
    note("chromium-network", "pictures/s", ours.network, peer.network);
    note("chromium-jpeg", "pictures/s", ours.file, peer.file);
    note("chromium-first-answer", "ms", ours.first, peer.first);
    note("chromium-code", "bytes", ours.bytes, peer.bytes);
  }
  await server.close();
}

await inNode();
const size = statSync(join(exported, "model.safetensors")).size;
note("weights", "bytes", size, onnx ? statSync(onnx).size : undefined);
if (chromium !== "-") await inChromium();
console.log(JSON.stringify(figures));
process.exit(0);
