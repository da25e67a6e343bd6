/// <reference lib="dom" />

/** A class with its probability, 0 to 1. */
export interface Candidate {
  label: string;
  probability: number;
}

/** All that a model has to say of a picture. */
export interface Prediction extends Candidate {
  /** Every class, in the model's order. */
  probabilities: Candidate[];
  /** Whether the picture is unlike the training pictures; absent if the model does not know. */
  unfamiliar?: boolean;
  /** How far it is from its nearest training pictures, 0 to 2. */
  distance?: number;
  /** Where the network saw what speaks for the class; only if asked for. */
  map?: ActivationMap;
}

/** Where in a picture the network saw what speaks for a class (Grad-CAM). */
export interface ActivationMap {
  /** The class that it speaks for. */
  class: string;
  /** Left, top, right and bottom edge of what it lies over, as shares of the picture's sides. */
  region: [number, number, number, number];
  /** Rows of the map. */
  height: number;
  /** Columns of the map. */
  width: number;
  /** Rows from the top, 0 to 1: 1 where most speaks for the class. */
  values: number[];
}

/** Decoded pixels, u8 RGB or RGBA, rows from the top. An `ImageData` is one. */
export interface Pixels {
  data: Uint8Array | Uint8ClampedArray;
  width: number;
  height: number;
}

/**
 * A picture: a file, its content, its address (in Node.js also its path), pixels, or in browsers
 * anything that shows one (`<img>`, `<canvas>`, `<video>`, `ImageBitmap`, `VideoFrame`).
 */
export type Picture =
  | Blob
  | ArrayBuffer
  | Uint8Array
  | URL
  | string
  | Pixels
  | CanvasImageSource;

export interface LoadOptions {
  /** The model: its address or content. Default: model.safetensors beside taper.js. */
  model?: URL | string | ArrayBuffer | Uint8Array;
  /**
   * The module: its address or content, or compiled. Default: taper-relaxed.wasm beside taper.js
   * where there is relaxed SIMD, else taper.wasm.
   */
  module?: URL | string | ArrayBuffer | Uint8Array | WebAssembly.Module;
  /** Whether it classifies in a thread of its own, so that the page stays responsive. Default: true. */
  worker?: boolean;
  /** Is told how many bytes of the model are here; `total` is null if the server does not say. */
  onProgress?: (loaded: number, total: number | null) => void;
}

export interface ClassifyOptions {
  /** At most so many classes. Default: all. */
  top?: number;
}

export interface PredictOptions {
  /** Whether the answer has a map of where the network saw what speaks for the class. */
  explain?: boolean;
}

/** Why a picture cannot be classified, or a model not be opened. */
export class TaperError extends Error {}

/** A model that is open. */
export interface Classifier {
  /** What it can tell apart. */
  readonly classes: string[];
  /** The network that it is built on. */
  readonly network: string;
  /** The side of its pictures in pixels; pictures of any size are resized. */
  readonly size: number;
  /** The classes with their probabilities, the most probable first. */
  classify(image: Picture, options?: ClassifyOptions): Promise<Candidate[]>;
  /** The same, and whether the picture is unlike the training pictures. */
  predict(image: Picture, options?: PredictOptions): Promise<Prediction>;
  /** Ends the thread; what has not been answered is refused. */
  close(): void;
}

/** Opens a model: by default the one beside taper.js. */
export function load(options?: LoadOptions): Promise<Classifier>;

/** Classifies a picture with the model beside taper.js, which the first call loads. */
export function classify(image: Picture, options?: ClassifyOptions): Promise<Candidate[]>;
