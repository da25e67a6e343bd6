// The page of `taper serve` in headless Chromium: `cargo xtask page` runs it.
//
//     node page.mjs CHROMIUM AXE URL FOLDER PICTURE…
//
// Chooses a picture, drops one, uses a fake camera, goes through the page by keyboard, and looks for
// violations of accessibility with axe-core (the file AXE, - for none), in light and dark, on a phone and on a
// desktop. Screenshots go to FOLDER.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { basename } from "node:path";

import { start } from "./chromium.mjs";

const [chromium, axe, url, folder, ...pictures] = process.argv.slice(2);
const tab = await start(chromium, 120);
const { run, until, key, tabTo } = tab;

await tab.go(url);
await until("document.getElementById('about')?.textContent.includes('classes')");

// What the program itself says of the pictures.
const expected = [];
for (const picture of pictures) {
  const response = await fetch(new URL("predict", url), { method: "POST", body: readFileSync(picture) });
  const { label, probability } = await response.json();
  expected.push(`${label}, ${(100 * probability).toFixed(1)} %`);
}
const shown = (name) => `[...document.querySelectorAll('#results .card')].find((card) => card.querySelector('.name').textContent === ${JSON.stringify(name)})?.querySelector('.label')?.textContent`;

// The first is chosen.
await tab.choose("#files", [pictures[0]]);
await until(`${shown(basename(pictures[0]))} === ${JSON.stringify(expected[0])}`);
// The others are dropped, together with something else.
const dropped = pictures.slice(1).map((path) => [basename(path), readFileSync(path)]);
await tab.drop("drop", [...dropped, ["notes.txt", Buffer.from("no picture")]]);
for (const [at, [name]] of dropped.entries()) {
  await until(`${shown(name)} === ${JSON.stringify(expected[at + 1])}`);
}
await until("document.querySelector('#results .error')?.textContent.includes('text')");

// What spoke for an answer lies over its picture, and can be taken away.
const maps = "[...document.querySelectorAll('#results .frame canvas')]";
const answered = "document.querySelectorAll('#results .card .label').length";
assert.equal(await run(`${maps}.length`), pictures.length);
assert.equal(await run(answered), pictures.length);
assert.ok(await run(`${maps}.every((map) => map.getBoundingClientRect().width > 20)`));
const drawn = `${maps}[0].getContext('2d').getImageData(0, 0, 99, 99).data.some((v) => v > 0)`;
assert.ok(await run(drawn));
const hidden = `${maps}.every((map) => getComputedStyle(map).visibility === 'hidden')`;
assert.ok(!await run(hidden));
await run("document.getElementById('overlay').click()");
assert.ok(await run(hidden));
await run("document.getElementById('overlay').click()");

// By keyboard alone: the camera is turned on, a picture kept, and it is turned off.
await run("document.activeElement.blur()");
await tabTo("files");
await tabTo("film");
await key("Enter", "Enter", "\r");
await until("document.querySelector('#live .label')?.textContent.includes('%')");
assert.equal(await run("document.activeElement.id"), "stop");
const before = await run("document.querySelectorAll('#results .card').length");
await run("document.getElementById('shot').focus()");
await key("Enter", "Enter", "\r");
await until(`document.querySelectorAll('#results .card .label').length === ${before}`);

await tab.look(axe, folder, "page");
await tabTo("stop");
await key("Enter", "Enter", "\r");
await until("document.getElementById('camera').hidden");
assert.equal(await run("document.activeElement.id"), "film");

tab.checkNothingForeign(url);
console.log(`the page works: ${expected.join("; ")}`);
await tab.end();
