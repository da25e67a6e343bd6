// The report of a training in headless Chromium: `cargo xtask page` runs it.
//
//     node report.mjs CHROMIUM AXE RUN FOLDER NAME TEXT…
//
// Opens report.html of the run folder RUN from the disk, uses it by mouse and by keyboard, with and without
// scripts, prints it, and looks for violations of accessibility with axe-core (the file AXE, - for none). The
// page must show each TEXT as it is. Screenshots and what is printed go to FOLDER, as report-NAME-….

import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

import { start } from "./chromium.mjs";

const MOST_BYTES = 5e6;
const SECTIONS = ["verdict", "next", "data", "classes", "confusion", "details"];

const [chromium, axe, folder, screenshots, name, ...texts] = process.argv.slice(2);
const file = resolve(folder, "report.html");
const url = pathToFileURL(file).href;
const size = statSync(file).size;
assert.ok(size <= MOST_BYTES, `${size} bytes`);
const tab = await start(chromium, 180);
const { run, until, key } = tab;

/** Calls a function in the page, with values that JSON has. */
const call = (own, ...given) => run(`(${own})(...${JSON.stringify(given)})`);

await tab.size(1280);
await tab.go(url);
await until("document.readyState === 'complete' && document.querySelector('th button') !== null");

// Nothing but the page's own script can run, and whatever refers to something finds it.
assert.deepEqual(await call(() => {
  const all = [...document.querySelectorAll("*")];
  const attributes = all.flatMap((own) => [...own.attributes]);
  const found = [];
  const check = (holds, text) => { if (!holds) found.push(text); };
  check(document.scripts.length === 1 && document.body.lastElementChild === document.scripts[0], "another script");
  for (const tag of ["iframe", "frame", "object", "embed", "img", "link", "base", "form", "audio", "video", "foreignObject"]) {
    check(document.querySelector(tag) === null, `<${tag}>`);
  }
  for (const { name, value } of attributes) check(!/^on/i.test(name), `${name}="${value}"`);
  const ids = all.map((own) => own.id).filter(Boolean);
  check(new Set(ids).size === ids.length, "an id twice");
  const known = new Set(ids);
  for (const own of attributes) {
    const names = {
      "href": /^#/.test(own.value) ? [own.value.slice(1)] : [],
      "data-pair": [own.value],
      "for": [own.value],
    }[own.name] ?? (/^aria-(labelledby|describedby|controls)$/.test(own.name) ? own.value.split(/\s+/) : []);
    const painted = [...own.value.matchAll(/url\(["']?#([^)"']*)/g)].map(([, id]) => id);
    for (const id of [...names, ...painted]) check(known.has(id), `${own.name}="${own.value}" refers to nothing`);
    const isPlace = ["href", "src", "xlink:href", "action", "srcset"].includes(own.name);
    check(!isPlace || /^(#|data:image\/(jpeg|png);base64,)/.test(own.value), `${own.name}="${own.value.slice(0, 80)}"`);
  }
  for (const use of document.querySelectorAll("use")) {
    check(document.querySelector(use.getAttribute("href"))?.localName === "symbol", "a picture that is none");
  }
  return found;
}), []);
const broken = await call(async () => {
  const pictures = [...document.querySelectorAll("symbol image")];
  const all = await Promise.all(pictures.map(async (own) => {
    const picture = new Image();
    picture.src = own.getAttribute("href");
    try { await picture.decode(); return false; } catch { return true; }
  }));
  return all.length === 0 ? "no pictures" : all.filter(Boolean).length;
});
assert.equal(broken, 0, "pictures that cannot be shown");

// What it says.
const seen = () => call(() => {
  // What is folded can be unfolded.
  const text = (selector) => [...document.querySelectorAll(selector)].filter((own) => own.closest("main details") === null)
    .map((own) => own.checkVisibility() ? own.textContent.trim() : `hidden: ${own.textContent}`);
  return {
    sections: [...document.querySelectorAll("main > section")].map(({ id }) => id),
    text: document.body.innerText,
    said: text("h1, h2, .verdict p, .verdict dd, .lead, .advice .said > p, .command code, .shots p, .text"),
    rows: text(".table tbody tr"),
    buttons: document.querySelectorAll("button").length,
  };
});
const first = await seen();
const { per_class: classes, confusion } = JSON.parse(readFileSync(join(folder, "result.json"), "utf8")).test;
const wrong = confusion.flatMap((row, truth) => row.filter((_, predicted) => predicted !== truth)).reduce((a, b) => a + b);
const expected = wrong > 0 ? [...SECTIONS, "mistakes"] : SECTIONS;
assert.deepEqual(expected.filter((own) => !first.sections.includes(own)), [], "sections are missing");
const missing = ({ text }) => [...classes.map(({ label }) => label), ...texts].filter((own) => !text.includes(own));
assert.deepEqual(missing(first), [], "not shown as they are");
// Characters that turn letters around are replaced, and nothing else is.
const others = texts.reduce((text, own) => text.replaceAll(own, ""), first.text);
assert.deepEqual(others.match(/.*[\u202a-\u202e\ufffd].*/g), null);
const contents = await call(() => [...document.querySelectorAll(".contents .wide a")].map((own) => own.hash.slice(1)));
assert.deepEqual(contents, first.sections);
assert.equal(await run("document.querySelector('.contents [aria-current]').hash"), `#${first.sections[0]}`);

// The first stop of the Tab key leads past the contents.
await key("Tab", "Tab");
assert.equal(await run("document.activeElement.className"), "skip");
await key("Enter", "Enter", "\r");
await until("document.activeElement.localName === 'main'");
await tab.click("document.querySelector('.contents .wide a[href=\"#details\"]')");
await until("document.querySelector('.contents [aria-current]')?.hash === '#details'");

// A table is sorted by the keyboard: from the largest, from the least, as it was.
const recalls = () => call(() => [...document.querySelectorAll("#classes tbody tr")].map((row) => Number(row.querySelector(".share").dataset.value)));
await run("document.querySelector('#classes .table .scroll').focus()");
const heading = "document.activeElement.closest('th')";
for (let tries = 0; !await run(`${heading}?.textContent.startsWith('recall')`); tries += 1) {
  assert.ok(tries < 10, "the Tab key does not reach the heading");
  await key("Tab", "Tab");
}
const order = [await recalls()];
for (const direction of ["descending", "ascending", null]) {
  await key("Enter", "Enter", "\r");
  assert.equal(await run(`${heading}.getAttribute('aria-sort')`), direction);
  order.push(await recalls());
}
const ascending = order[0].toSorted((a, b) => a - b);
assert.ok(ascending[0] < ascending.at(-1), "all classes are equally good: sorting shows nothing");
assert.deepEqual(order, [order[0], ascending.toReversed(), ascending, order[0]]);

// A long table shows the rows with a word.
if (classes.length > 60) {
  await run("document.querySelector('#classes .table input[type=search]').focus()");
  const { label } = classes.at(-1);
  await tab.page("Input.insertText", { text: label.toUpperCase() });
  const rows = await call(() => [...document.querySelectorAll("#classes tbody tr")].filter((row) => !row.hidden).map((row) => row.cells[0].innerText));
  assert.deepEqual(rows, classes.map((own) => own.label).filter((own) => own.includes(label)));
}

// A gallery shows the pictures of one class.
const gallery = (selector) => call((selector) => {
  const shots = [...document.querySelectorAll(`${selector} .shots > li`)];
  const shown = shots.filter((own) => own.offsetParent !== null);
  return {
    chosen: document.querySelector(`${selector} select`)?.value, said: document.querySelector(`${selector} .gallery [role=status]`)?.innerText,
    all: shots.length, shown: shown.map((own) => own.dataset.truth),
  };
}, selector);
for (const selector of wrong > 1 ? ["#classes", "#mistakes"] : ["#classes"]) {
  await run(`document.querySelector('${selector} select').focus()`);
  await key("ArrowDown", "ArrowDown");
  const { chosen, said, all, shown } = await gallery(selector);
  assert.ok(0 < shown.length && shown.length < all, `${selector}: ${shown.length} of ${all} pictures`);
  assert.deepEqual([...new Set(shown)], [chosen]);
  assert.equal(said, shown.length === 1 ? "1 picture" : `${shown.length} pictures`);
}

// What is behind a cell, or in a long list behind a pair of classes, comes with a click.
const cell = "[...document.querySelectorAll('#confusion td[data-pair] button')].at(-1)";
const pair = await run(`${cell}?.getAttribute('aria-controls') ?? document.querySelector('#confusion details.pair').id`);
const isMatrix = await run(`${cell} !== undefined`);
await tab.click(isMatrix ? cell : `document.querySelector('#${pair} > summary')`);
await until(`document.querySelector('#${pair} .picture').checkVisibility()`);
const opened = await call(() => [...document.querySelectorAll("#confusion details.pair")].filter((own) => own.open && !own.hidden).map((own) => own.id));
assert.deepEqual(opened, [pair]);
if (isMatrix) await until(`${cell}.getAttribute('aria-expanded') === 'true'`);

// Activation maps are laid over the pictures, until they are unwanted.
const maps = "getComputedStyle(document.querySelector('symbol .map')).visibility";
assert.equal(await run(maps), "visible");
await tab.click("document.getElementById('maps_0')");
assert.equal(await run(maps), "hidden");
await tab.click("document.getElementById('maps_0')");

// Commands are copied, or at least selected, as a page from the disk may not be allowed more.
const command = await run("document.querySelector('.command code').textContent");
await tab.click("document.querySelector('.command button')");
await until("/Copied|Selected/.test(document.querySelector('.command button').textContent)");
if (await run("document.querySelector('.command button').textContent === 'Selected'")) {
  assert.equal(await run("getSelection().toString()"), command);
}

await tab.go(url);
await until("document.readyState === 'complete' && document.querySelector('th button') !== null");
await tab.look(axe, screenshots, `report-${name}`);

// On paper everything is unfolded, and all its pictures are there.
await tab.size(1280);
const folded = "[...document.querySelectorAll('main details')].filter((own) => !own.open || own.hidden).length";
const before = await run(folded);
assert.ok(before > 0, "nothing is folded");
await run("dispatchEvent(new Event('beforeprint'))");
assert.equal(await run(folded), 0, "folded on paper");
await run("dispatchEvent(new Event('afterprint'))");
assert.equal(await run(folded), before);
const used = await call(() => new Set([...document.querySelectorAll("use")].map((own) => own.getAttribute("href"))).size);
const printed = await tab.page("Page.printToPDF", { printBackground: true, preferCSSPageSize: true });
const pdf = Buffer.from(printed.data, "base64");
writeFileSync(join(screenshots, `report-${name}.pdf`), pdf);
const count = (pattern) => pdf.toString("latin1").match(pattern)?.length ?? 0;
const [sheets, photographs] = [count(/\/Type\s*\/Page\b/g), count(/\/DCTDecode/g)];
assert.ok(sheets > 1, `${sheets} pages`);
assert.ok(photographs >= used, `${photographs} of ${used} pictures are printed`);

// Without scripts it says the same.
await tab.page("Emulation.setScriptExecutionDisabled", { value: true });
await tab.go(url);
await until("document.readyState === 'complete' && document.querySelector('script') !== null");
const plain = await seen();
assert.equal(plain.buttons, 0, "scripts run");
assert.deepEqual(plain.sections, first.sections);
assert.deepEqual(plain.rows, first.rows);
assert.deepEqual(plain.said, first.said);
assert.deepEqual(missing(plain), []);
await tab.click(`document.querySelector('#${pair} > summary')`);
await until(`document.querySelector('#${pair} .picture').checkVisibility()`);

tab.checkNothingForeign(url);
tab.checkNoComplaints();
console.log(`${name}: ${(size / 1e6).toFixed(1)} MB, ${first.sections.length} sections, ${used} pictures, ${sheets} sheets of paper`);
await tab.end();
