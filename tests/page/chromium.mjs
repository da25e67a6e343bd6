// Headless Chromium with a fake camera, by the DevTools protocol over a pipe.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Keys by their numbers. */
const KEYS = { Tab: 9, Enter: 13, ArrowDown: 40 };

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Starts a browser, and ends everything if it takes longer than so many seconds. */
export async function start(chromium, seconds) {
  const profile = mkdtempSync(join(tmpdir(), "page-"));
  const browser = spawn(
    chromium,
    [
      "--headless=new", "--no-sandbox", "--remote-debugging-pipe", `--user-data-dir=${profile}`,
      "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
      // Where a click goes would otherwise depend on how far the page has glided.
      "--force-prefers-reduced-motion", "about:blank",
    ],
    { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
  );
  process.on("exit", () => {
    browser.kill("SIGKILL");
    // A process of the browser may still be writing: then the folder for temporary files keeps it.
    try { rmSync(profile, { recursive: true, force: true, maxRetries: 5 }); } catch { /* as said */ }
  });
  setTimeout(() => {
    console.error(`the browser took longer than ${seconds} s`);
    process.exit(1);
  }, 1000 * seconds).unref();
  return connect(browser);
}

async function connect(browser) {
  const waiting = new Map(), events = [];
  let buffer = "", last = 0;
  // Messages are JSON, ended by a zero byte.
  browser.stdio[4].on("data", (data) => {
    buffer += data;
    for (let end; (end = buffer.indexOf("\0")) >= 0; buffer = buffer.slice(end + 1)) {
      const message = JSON.parse(buffer.slice(0, end));
      if (!message.id) {
        events.push(message);
        // A dialog stops the page until somebody answers it.
        if (message.method === "Page.javascriptDialogOpening") {
          send("Page.handleJavaScriptDialog", { accept: true }, message.sessionId).catch(() => {});
        }
        continue;
      }
      waiting.get(message.id)(message);
      waiting.delete(message.id);
    }
  });
  const send = (method, params = {}, sessionId = undefined) => new Promise((done, fail) => {
    const id = ++last;
    const settle = ({ error, result }) =>
      error ? fail(new Error(`${method}: ${error.message}`)) : done(result);
    waiting.set(id, settle);
    browser.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
  });
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const page = (method, params) => send(method, params, sessionId);
  for (const domain of ["Page", "Runtime", "DOM", "Network", "Log"]) await page(`${domain}.enable`);
  return new Tab(send, page, events);
}

/** A page, with the same names as what a person does. */
class Tab {
  constructor(send, page, events) {
    Object.assign(this, { send, page, events });
    for (const name of ["run", "until", "key", "tabTo"]) this[name] = this[name].bind(this);
  }

  go(url) {
    return this.page("Page.navigate", { url });
  }

  /** The value of an expression in the page. */
  async run(expression) {
    const { result, exceptionDetails } = await this.page(
      "Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true },
    );
    if (exceptionDetails) {
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    }
    return result.value;
  }

  async until(expression) {
    for (let tries = 0; tries < 400; tries += 1) {
      if (await this.run(expression)) return;
      await pause(50);
    }
    const shown = await this.run("document.body.innerText");
    const thrown = this.events.filter(({ method }) => method === "Runtime.exceptionThrown");
    const errors = thrown.map(({ params }) => params.exceptionDetails.exception?.description);
    throw new Error([`it does not come: ${expression}`, shown, ...errors].join("\n"));
  }

  async choose(selector, files) {
    const { root } = await this.page("DOM.getDocument");
    const { nodeId } = await this.page("DOM.querySelector", { nodeId: root.nodeId, selector });
    await this.page("DOM.setFileInputFiles", { nodeId, files });
  }

  /** Drops files, `[name, content]` each, on the element of this id. */
  drop(id, files) {
    const texts = files.map(([name, content]) => [name, content.toString("base64")]);
    return this.run(`{
      const data = new DataTransfer();
      for (const [name, text] of ${JSON.stringify(texts)}) {
        data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
      }
      const own = { dataTransfer: data, bubbles: true, cancelable: true };
      document.getElementById("${id}").dispatchEvent(new DragEvent("drop", own));
    }`);
  }

  /** Clicks with the mouse on the element that an expression gives. */
  async click(expression) {
    const [x, y] = await this.run(`{
      const element = ${expression};
      element.scrollIntoView({ block: "center", behavior: "instant" });
      const { left, top, width, height } = element.getBoundingClientRect();
      [left + width / 2, top + height / 2];
    }`);
    const own = { x, y, button: "left", clickCount: 1 };
    await this.page("Input.dispatchMouseEvent", { type: "mousePressed", ...own });
    await this.page("Input.dispatchMouseEvent", { type: "mouseReleased", ...own });
  }

  /** Makes the window as wide as a telephone or a desktop. */
  size(width) {
    const metrics = { width, height: 900, deviceScaleFactor: 1, mobile: width < 500 };
    return this.page("Emulation.setDeviceMetricsOverride", metrics);
  }

  async key(name, code, text) {
    const own = { key: name, code, windowsVirtualKeyCode: KEYS[name], text };
    await this.page("Input.dispatchKeyEvent", { type: "keyDown", ...own });
    await this.page("Input.dispatchKeyEvent", { type: "keyUp", ...own });
  }

  async tabTo(id) {
    for (let tries = 0; tries < 20; tries += 1) {
      if (await this.run("document.activeElement.id") === id) return;
      await this.key("Tab", "Tab");
    }
    throw new Error(`the Tab key does not reach ${id}`);
  }

  /**
   * Looks at the page on a phone and on a desktop, in light and dark: it is not wider than the
   * window, and axe-core (the file `axe`, "-" for none) finds nothing. Screenshots go to `folder`.
   */
  async look(axe, folder, name) {
    if (axe !== "-") await this.run(`${readFileSync(axe, "utf8")}; 0`);
    for (const width of [390, 1280]) {
      for (const scheme of ["light", "dark"]) {
        await this.size(width);
        const features = [{ name: "prefers-color-scheme", value: scheme }];
        await this.page("Emulation.setEmulatedMedia", { features });
        await pause(200);
        // The window of a telephone grows with a page that is too wide.
        const wider = await this.run("document.documentElement.scrollWidth") - width;
        assert.ok(wider <= 0, `${width} pixels: the page is ${wider} pixels wider than the window`);
        const violations = axe === "-" ? [] : await this.run(
          "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`))",
        );
        assert.deepEqual(violations, [], `${width} pixels, ${scheme}`);
        const { data } = await this.page("Page.captureScreenshot", { captureBeyondViewport: true });
        const file = join(folder, `${name}-${width}-${scheme}.png`);
        writeFileSync(file, Buffer.from(data, "base64"));
      }
    }
  }

  /** Nothing was thrown, and nobody but `url` was asked for anything. */
  checkNothingForeign(url) {
    const thrown = this.events.filter(({ method }) => method === "Runtime.exceptionThrown");
    assert.deepEqual(thrown, []);
    const asked = this.events.filter(({ method }) => method === "Network.requestWillBeSent");
    const foreign = asked.map(({ params }) => params.request.url)
      .filter((own) => !own.startsWith(url) && !/^(blob|data):/.test(own));
    assert.deepEqual(foreign, [], "the page asks other servers");
  }

  /** Nothing was complained about on the console, and no dialog was opened. */
  checkNoComplaints() {
    const dialogs = this.events.filter(({ method }) => method === "Page.javascriptDialogOpening");
    assert.deepEqual(dialogs.map(({ params }) => params.message), [], "the page opens dialogs");
    const logged = this.events.filter(({ method }) => method === "Log.entryAdded")
      .map(({ params }) => params.entry)
      .filter(({ level }) => level === "error" || level === "warning");
    assert.deepEqual(logged.map(({ text }) => text), []);
    const printed = this.events.filter(({ method }) => method === "Runtime.consoleAPICalled");
    assert.deepEqual(printed.map(({ params }) => params.args), []);
  }

  async end() {
    await this.send("Browser.close");
    process.exit(0);
  }
}
