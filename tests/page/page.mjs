// The page of `taper serve` in headless Chromium: `cargo xtask page` runs it.
//
//     node page.mjs CHROMIUM AXE URL FOLDER PICTURE…
//
// Chooses a picture, drops one, uses a fake camera, goes through the page by keyboard, and looks for
// violations of accessibility with axe-core (the file AXE, - for none), in light and dark, on a phone and on a
// desktop. Screenshots go to FOLDER.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

const [chromium, axe, url, folder, ...pictures] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), "page-"));
const browser = spawn(
  chromium,
  [
    "--headless=new", "--no-sandbox", "--remote-debugging-pipe", `--user-data-dir=${profile}`,
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "about:blank",
  ],
  { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
);
process.on("exit", () => {
  browser.kill("SIGKILL");
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});
setTimeout(() => { console.error("the page took longer than 120 s"); process.exit(1); }, 120_000).unref();

// The DevTools protocol over a pipe: messages are JSON, ended by a zero byte.
const waiting = new Map(), events = [];
let buffer = "", last = 0;
browser.stdio[4].on("data", (data) => {
  buffer += data;
  for (let end; (end = buffer.indexOf("\0")) >= 0; buffer = buffer.slice(end + 1)) {
    const message = JSON.parse(buffer.slice(0, end));
    if (!message.id) { events.push(message); continue; }
    waiting.get(message.id)(message);
    waiting.delete(message.id);
  }
});
const send = (method, params = {}, sessionId = undefined) => new Promise((done, fail) => {
  const id = ++last;
  const settle = ({ error, result }) => error ? fail(new Error(`${method}: ${error.message}`)) : done(result);
  waiting.set(id, settle);
  browser.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
});
const { targetId } = await send("Target.createTarget", { url: "about:blank" });
const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
const page = (method, params) => send(method, params, sessionId);
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
async function run(expression) {
  const { result, exceptionDetails } =
    await page("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  return result.value;
}
async function until(expression) {
  for (let tries = 0; tries < 200; tries += 1) {
    if (await run(expression)) return;
    await pause(50);
  }
  throw new Error(`it does not come: ${expression}\n${await run("document.body.innerText")}`);
}

for (const domain of ["Page", "Runtime", "DOM", "Network"]) await page(`${domain}.enable`);
await page("Page.navigate", { url });
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
const { root } = await page("DOM.getDocument");
const { nodeId } = await page("DOM.querySelector", { nodeId: root.nodeId, selector: "#files" });
await page("DOM.setFileInputFiles", { nodeId, files: [pictures[0]] });
await until(`${shown(basename(pictures[0]))} === ${JSON.stringify(expected[0])}`);
// The others are dropped, together with something else.
const dropped = pictures.slice(1).map((path) => [basename(path), readFileSync(path).toString("base64")]);
await run(`{
  const data = new DataTransfer();
  for (const [name, text] of ${JSON.stringify(dropped)}) {
    data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
  }
  data.items.add(new File(["no picture"], "notes.txt"));
  document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}`);
for (const [at, [name]] of dropped.entries()) {
  await until(`${shown(name)} === ${JSON.stringify(expected[at + 1])}`);
}
await until("document.querySelector('#results .error')?.textContent.includes('text')");

// By keyboard alone: the camera is turned on, a picture kept, and it is turned off.
async function key(name, code, text) {
  const own = { key: name, code, windowsVirtualKeyCode: name === "Tab" ? 9 : 13, text };
  await page("Input.dispatchKeyEvent", { type: "keyDown", ...own });
  await page("Input.dispatchKeyEvent", { type: "keyUp", ...own });
}
async function tabTo(id) {
  for (let tries = 0; tries < 20; tries += 1) {
    if (await run("document.activeElement.id") === id) return;
    await key("Tab", "Tab");
  }
  throw new Error(`the Tab key does not reach ${id}`);
}
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

if (axe !== "-") await run(`${readFileSync(axe, "utf8")}; 0`);
for (const width of [390, 1280]) {
  for (const scheme of ["light", "dark"]) {
    const metrics = { width, height: 900, deviceScaleFactor: 1, mobile: width < 500 };
    await page("Emulation.setDeviceMetricsOverride", metrics);
    const features = [{ name: "prefers-color-scheme", value: scheme }];
    await page("Emulation.setEmulatedMedia", { features });
    await pause(200);
    const wider = await run("document.documentElement.scrollWidth - innerWidth");
    assert.ok(wider <= 0, `${width} pixels: the page is ${wider} pixels wider than the window`);
    const violations = axe === "-" ? [] : await run(
      "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`))",
    );
    assert.deepEqual(violations, [], `${width} pixels, ${scheme}`);
    const { data } = await page("Page.captureScreenshot", { captureBeyondViewport: true });
    writeFileSync(join(folder, `page-${width}-${scheme}.png`), Buffer.from(data, "base64"));
  }
}
await tabTo("stop");
await key("Enter", "Enter", "\r");
await until("document.getElementById('camera').hidden");
assert.equal(await run("document.activeElement.id"), "film");

const thrown = events.filter(({ method }) => method === "Runtime.exceptionThrown");
assert.deepEqual(thrown, []);
const asked = events.filter(({ method }) => method === "Network.requestWillBeSent");
const foreign = asked.map(({ params }) => params.request.url)
  .filter((own) => !own.startsWith(url) && !/^(blob|data):/.test(own));
assert.deepEqual(foreign, [], "the page asks other servers");
console.log(`the page works: ${expected.join("; ")}`);
await send("Browser.close");
process.exit(0);
