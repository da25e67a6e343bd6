// An exported folder in Node.js: `cargo xtask web` runs it.
//
//     node node.mjs FOLDER EXPECTED PICTURE…
//
// EXPECTED is what `taper predict --precision f32 --json` says of the pictures, a line for each.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const TOLERANCE = 1e-5;

const [folder, expectedFile, ...pictures] = process.argv.slice(2);
const expected = readFileSync(expectedFile, "utf8").trim().split("\n").map((line) => JSON.parse(line));
const { classify, load, TaperError } = await import(pathToFileURL(resolve(folder, "taper.js")));

let worst = 0;
function compare(answer, wanted) {
  assert.equal(answer.label, wanted.label);
  assert.equal(answer.unfamiliar, wanted.unfamiliar);
  assert.ok(Math.abs(answer.distance - wanted.distance) <= 1e-4);
  assert.equal(answer.probabilities.length, Object.keys(wanted.probabilities).length);
  for (const { label, probability } of answer.probabilities) {
    const difference = Math.abs(probability - wanted.probabilities[label]);
    assert.ok(difference <= TOLERANCE, `${label}: ${probability}, ${wanted.probabilities[label]}`);
    worst = Math.max(worst, difference);
  }
}

for (const worker of [true, false]) {
  const classifier = await load({ worker });
  assert.deepEqual(classifier.classes, Object.keys(expected[0].probabilities));
  // All at once, in several forms.
  const forms = [
    (path) => path,
    (path) => pathToFileURL(resolve(path)),
    (path) => pathToFileURL(resolve(path)).href,
    (path) => readFileSync(path),
    (path) => new Blob([readFileSync(path)]),
    (path) => Uint8Array.from(readFileSync(path)).buffer,
  ];
  for (const form of forms) {
    const answers = await Promise.all(pictures.map((path) => classifier.predict(form(path))));
    answers.forEach((answer, at) => compare(answer, expected[at]));
  }
  const sorted = await classifier.classify(pictures[0], { top: 2 });
  assert.equal(sorted.length, 2);
  assert.equal(sorted[0].label, expected[0].label);
  assert.ok(sorted[0].probability >= sorted[1].probability);

  // What spoke for the answer, which stays the same.
  const { map, ...explained } = await classifier.predict(pictures[0], { explain: true });
  compare(explained, expected[0]);
  assert.equal(map.class, expected[0].label);
  assert.equal(map.values.length, map.height * map.width);
  assert.equal(Math.max(...map.values), 1);
  assert.ok(map.region.every((edge) => edge >= 0 && edge <= 1));
  const seen = await classifier.predict(
    { data: Uint8Array.from({ length: 3 * 64 * 48 }, (_, at) => at % 251), width: 64, height: 48 },
    { explain: true },
  );
  assert.equal(seen.map.values.length, map.values.length);
  assert.equal((await classifier.predict(pictures[0])).map, undefined);

  // The same colour, with and without a transparency that shows half of the white behind it.
  const data = (...colour) => Uint8Array.from({ length: 64 * 48 * colour.length }, (_, at) => colour[at % colour.length]);
  const opaque = await classifier.predict({ data: data(155, 205, 255), width: 64, height: 48 });
  for (const own of [data(155, 205, 255, 255), data(55, 155, 255, 128)]) {
    assert.deepEqual((await classifier.predict({ data: own, width: 64, height: 48 })).label, opaque.label);
  }
  assert.deepEqual(await classifier.predict({ data: data(155, 205, 255, 255), width: 64, height: 48 }), opaque);

  // What is no picture is refused, and the next one is classified.
  const refuse = (image, reason) => assert.rejects(classifier.predict(image), (error) => {
    assert.ok(error instanceof TaperError, error.stack);
    assert.match(error.message, reason);
    return true;
  });
  await refuse(new TextEncoder().encode("not a picture"), /not a picture/);
  await refuse(readFileSync(pictures[0]).subarray(0, 5000), /end|truncated/);
  await assert.rejects(classifier.predict(7), TypeError);
  await assert.rejects(classifier.predict(null), TypeError);
  compare(await classifier.predict(pictures[0]), expected[0]);
  // So it is after one that takes more memory than there is: its header promises 13,000 × 13,000.
  await assert.rejects(classifier.predict(bomb()), TaperError);
  compare(await classifier.predict(pictures[0]), expected[0]);

  // A good picture beside it has its answer.
  const [good, bad] = await Promise.allSettled([
    classifier.predict(new Blob([readFileSync(pictures[0])])), classifier.predict(bomb()),
  ]);
  compare(good.value, expected[0]);
  assert.equal(bad.status, "rejected");
  await assert.rejects(classifier.predict({ data: new Float32Array(12), width: 2, height: 2 }));
  await assert.rejects(classifier.predict("missing.jpg"), TaperError);

  const late = classifier.predict(pictures[0]);
  classifier.close();
  await assert.rejects(late, /closed/);
  await assert.rejects(classifier.predict(pictures[0]), /closed/);
}

// A BMP of which only the header is there.
function bomb() {
  const bytes = Buffer.alloc(54);
  bytes.write("BM");
  bytes.writeUInt32LE(54, 10);
  bytes.writeUInt32LE(40, 14);
  bytes.writeInt32LE(13_000, 18);
  bytes.writeInt32LE(13_000, 22);
  bytes.writeUInt16LE(1, 26);
  bytes.writeUInt16LE(24, 28);
  return bytes;
}

for (const [options, reason] of [
  [{ model: new TextEncoder().encode("nothing") }, /model\.safetensors/],
  [{ model: "missing.safetensors" }, /missing\.safetensors/],
  [{ module: new TextEncoder().encode("nothing") }, /compiled/],
  [{ module: Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0) }, /not Taper's/],
]) {
  for (const worker of [true, false]) await assert.rejects(load({ ...options, worker }), reason);
}

// What is given stays the caller's.
const content = Uint8Array.from(readFileSync(join(folder, "model.safetensors"))).buffer;
for (let times = 0; times < 2; times += 1) (await load({ model: content })).close();
assert.ok(content.byteLength > 0);
const progress = [];
(await load({ onProgress: (...told) => progress.push(told) })).close();
assert.deepEqual(progress, [[content.byteLength, content.byteLength]]);

// As a package: installed, imported by its name, and a process that ends by itself.
const place = mkdtempSync(join(tmpdir(), "taper-web-"));
try {
  const { name } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  mkdirSync(join(place, "node_modules"));
  cpSync(folder, join(place, "node_modules", name), { recursive: true });
  const script = `import { classify } from ${JSON.stringify(name)};
    console.log(JSON.stringify(await classify(process.argv[2], { top: 1 })));`;
  writeFileSync(join(place, "own.mjs"), script);
  const own = { cwd: place, timeout: 60_000 };
  const said = execFileSync(process.execPath, ["own.mjs", resolve(pictures[0])], own);
  assert.equal(JSON.parse(said)[0].label, expected[0].label);
} finally {
  rmSync(place, { recursive: true, force: true });
}
assert.equal((await classify(pictures[1], { top: 1 }))[0].label, expected[1].label);
console.log(`Node.js: ${expected.map(({ label }) => label).join(", ")}; at most ${worst.toExponential(1)} from the program`);
