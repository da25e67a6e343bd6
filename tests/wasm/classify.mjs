// Classifies pictures by the WebAssembly module and compares with the native answers.
// node classify.mjs MODULE MODEL REFERENCE, where REFERENCE is what crates/web/examples/reference
// has printed. Exits with 1 if a probability differs by more than TOLERANCE.
import { readFileSync } from "node:fs";

const TOLERANCE = 1e-5;
const RUNS = 10;

const [moduleFile, modelFile, referenceFile] = process.argv.slice(2);
const code = await WebAssembly.compile(readFileSync(moduleFile));
const imports = WebAssembly.Module.imports(code);
if (imports.length > 0) {
  throw new Error(`the module needs imports: ${imports.map((i) => i.name).join(", ")}`);
}
const taper = (await WebAssembly.instantiate(code)).exports;

/** What the last call had to say. */
function answer() {
  const [at, length] = [taper.taper_answer(), taper.taper_answer_length()];
  return new TextDecoder().decode(new Uint8Array(taper.memory.buffer, at, length));
}

/** Calls with bytes that the module takes over; false or 0 is a failure. */
function call(f, bytes, ...before) {
  const at = taper.taper_allocate(bytes.length);
  new Uint8Array(taper.memory.buffer, at, bytes.length).set(bytes);
  let result;
  try {
    result = f(...before, at, bytes.length);
  } catch (trap) {
    throw new Error(`the module ended: ${answer()}`, { cause: trap });
  }
  if (!result) throw new Error(answer());
  return result;
}

const begin = performance.now();
const model = call(taper.taper_open, readFileSync(modelFile));
console.log(`opened in ${(performance.now() - begin).toFixed(0)} ms`);

const { kernels, pictures } = JSON.parse(readFileSync(referenceFile, "utf8"));
let worst = 0;
for (const { file, milliseconds, prediction } of pictures) {
  const bytes = readFileSync(file);
  let best = Infinity;
  let ours;
  for (let run = 0; run <= RUNS; run++) {
    const start = performance.now();
    call(taper.taper_classify, bytes, model);
    if (run > 0) best = Math.min(best, performance.now() - start);
    ours = JSON.parse(answer());
  }
  let difference = 0;
  prediction.probabilities.forEach(([label, native], i) => {
    const [name, probability] = ours.probabilities[i];
    if (name !== label) throw new Error(`class ${i} is ${name} here and ${label} natively`);
    // A NaN must not pass.
    const distance = Math.abs(probability - native);
    difference = distance <= difference ? difference : distance;
  });
  if (ours.unfamiliar !== prediction.unfamiliar || typeof prediction.unfamiliar !== "boolean") {
    throw new Error(`unfamiliar is ${ours.unfamiliar} here and ${prediction.unfamiliar} natively`);
  }
  if (!(Math.abs(ours.distance - prediction.distance) <= 1e-4)) {
    throw new Error(`the distance is ${ours.distance} here and ${prediction.distance} natively`);
  }
  console.log(
    `${file}\n  wasm    ${ours.label} ${ours.probability.toFixed(7)}  ${best.toFixed(1)} ms` +
      `\n  native  ${prediction.label} ${prediction.probability.toFixed(7)}  ` +
      `${milliseconds.toFixed(1)} ms on one thread (${kernels})` +
      `\n  largest difference of a probability: ${difference.toExponential(1)}`,
  );
  worst = difference <= worst ? worst : difference;
}

// What is no picture is an answer, and the module lives on.
const junk = new TextEncoder().encode("not a picture");
let refused = "";
try {
  call(taper.taper_classify, junk, model);
} catch (error) {
  refused = error.message;
}
if (!refused.includes("not a picture")) throw new Error(`a text was answered with '${refused}'`);
call(taper.taper_classify, readFileSync(pictures[0].file), model);
taper.taper_close(model);

if (!(worst <= TOLERANCE)) {
  console.error(`probabilities differ by ${worst}, more than ${TOLERANCE}`);
  process.exit(1);
}
