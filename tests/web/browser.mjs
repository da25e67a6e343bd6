// The page of an exported folder in headless Chromium: `cargo xtask web` runs it.
//
//     node browser.mjs CHROMIUM AXE FOLDER EXPECTED SCREENSHOTS PICTURE…
//
// EXPECTED is what `taper predict --precision f32 --json` says of the pictures, a line for each.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";

import { start } from "../page/chromium.mjs";
import { serveFolder } from "./server.mjs";

const TOLERANCE = 1e-5;
/** The longest time in milliseconds for which the page may not react. */
const LONGEST = 200;

const [chromium, axe, folder, expectedFile, screenshots, ...pictures] = process.argv.slice(2);
const expected = readFileSync(expectedFile, "utf8").trim().split("\n").map((line) => JSON.parse(line));
const tab = await start(chromium, 180);
const { run, until, key, tabTo } = tab;

// Opened from the disk, it says what to do.
await tab.go(pathToFileURL(resolve(folder, "index.html")).href);
await until("document.getElementById('about')?.textContent.includes('http.server')");

// A server that does not know WebAssembly's type will do.
const plain = await serveFolder(folder, { ".html": "text/html", ".js": "text/javascript" });
await tab.go(plain.url);
await until("document.getElementById('about')?.textContent.includes('classes')");
await tab.go("about:blank");
await plain.close();

// A picture that comes before the model waits for it.
const server = await serveFolder(folder);
await tab.go(server.url);
await until("document.readyState === 'complete'");
await tab.drop("drop", [["early.jpg", readFileSync(pictures[0])]]);
await until("document.getElementById('about')?.textContent.includes('classes')");
// From now on there is no network.
await server.close();
const cut = tab.events.length;

const percent = (p) => `${(100 * p).toFixed(1)} %`;
const shown = (name) => `[...document.querySelectorAll('#results .card')].find((card) => card.querySelector('.name').textContent === ${JSON.stringify(name)})?.querySelector('.label')?.textContent`;
const answer = ({ label, probability }) => JSON.stringify(`${label}, ${percent(probability)}`);
await run("longest = 0; last = performance.now(); setInterval(() => { const now = performance.now(); longest = Math.max(longest, now - last); last = now; }, 5)");
await until(`${shown("early.jpg")} === ${answer(expected[0])}`);
await tab.choose("#files", [pictures[0]]);
await until(`${shown(basename(pictures[0]))} === ${answer(expected[0])}`);
const dropped = pictures.slice(1).map((path) => [basename(path), readFileSync(path)]);
await tab.drop("drop", [...dropped, ["notes.txt", Buffer.from("no picture")]]);
for (const [at, [name]] of dropped.entries()) {
  await until(`${shown(name)} === ${answer(expected[at + 1])}`);
}
await until("document.querySelector('#results .error')?.textContent.includes('text')");

// By taper.js, to the last digit; a picture by its address, as an element, and in a format that only
// the browser decodes.
const texts = pictures.map((path) => readFileSync(path).toString("base64"));
const given = await run(`(async () => {
  const files = ${JSON.stringify(texts)}.map((text) => new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]));
  return Promise.all(files.map((file) => backend.classifier.predict(file)));
})()`);
let worst = 0;
for (const [at, { probabilities }] of given.entries()) {
  for (const { label, probability } of probabilities) {
    const difference = Math.abs(probability - expected[at].probabilities[label]);
    assert.ok(difference <= TOLERANCE, `${label}: ${probability}`);
    worst = Math.max(worst, difference);
  }
}
const longest = await run("longest");
assert.ok(longest <= LONGEST, `the page did not react for ${longest} ms`);
const elements = await run(`(async () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [80, 60];
  const context = canvas.getContext("2d");
  context.fillStyle = "#3080c0";
  context.fillRect(0, 0, 80, 60);
  const image = new Image();
  image.src = canvas.toDataURL("image/png");
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="80" height="60"><rect width="80" height="60" fill="#3080c0"/></svg>';
  const element = new Image();
  element.src = "data:image/svg+xml," + encodeURIComponent(svg);
  await element.decode();
  const forms = [context.getImageData(0, 0, 80, 60), canvas, image, image.src, element,
    await createImageBitmap(canvas)];
  const answers = [];
  for (const form of forms) answers.push((await backend.classifier.predict(form)).probabilities);
  return answers;
})()`);
for (const own of elements) assert.deepEqual(own, elements[0]);

// By keyboard alone: the camera is turned on, a picture kept, and it is turned off.
await run("document.activeElement.blur()");
await tabTo("film");
await key("Enter", "Enter", "\r");
await until("document.querySelector('#live .label')?.textContent.includes('%')");
const before = await run("document.querySelectorAll('#results .card').length");
await run("document.getElementById('shot').focus()");
await key("Enter", "Enter", "\r");
await until(`document.querySelectorAll('#results .card .label').length === ${before}`);
await tab.look(axe, screenshots, "web");
// It is on once, however often it is asked for.
assert.equal(await run("document.getElementById('film').disabled"), true);
await tabTo("stop");
await key("Enter", "Enter", "\r");
await until("document.getElementById('camera').hidden");
assert.equal(await run("document.getElementById('film').disabled"), false);

const asked = tab.events.slice(cut).filter(({ method }) => method === "Network.requestWillBeSent");
const addresses = asked.map(({ params }) => params.request.url);
assert.deepEqual(addresses.filter((own) => !/^(blob|data):/.test(own)), []);
const thrown = tab.events.filter(({ method }) => method === "Runtime.exceptionThrown");
assert.deepEqual(thrown, []);
console.log(`Chromium: at most ${worst.toExponential(1)} from the program; the page always reacts within ${longest.toFixed(0)} ms`);
await tab.end();
