/** The graphs of a bundle, joined, by ONNX Runtime's WebAssembly: samples -> log-mel -> embedding -> voice, state carried. */

import * as ort from "onnxruntime-web";
import type { Bundle, Task } from "./bundle.js";

export const MELS = 80;
export const CONTEXT_SAMPLES = 240; // what the first frame hears of the sound before it
const LOG_FLOOR = 1e-6;
const FULL_SCALE_POWER = 512 / 2 * 150; // Parseval: 512 points, and a Hann window of 400 whose squares add up to 150
const [MARGIN_DB, MOST_DB] = [3, 30]; // quiet speech is raised to the level of the golden speech less 3 dB
const LEAST_COSINE = 0.99;

export interface Step { voice: Float32Array; state: Float32Array; scores?: Float32Array }

export class Student {
  private leastDb = 0;

  private constructor(
    readonly task: Task,
    private readonly frontEnd: ort.InferenceSession,
    private readonly encoder: ort.InferenceSession,
    private readonly aggregator: ort.InferenceSession,
    private readonly stateSize: number,
  ) {}

  /** Opened, and held against the bundle's golden sound: a graph that runs otherwise here is refused. */
  static async open(bundle: Bundle, name?: string): Promise<Student> {
    const task = name ? bundle.tasks.find((one) => one.name === name) : bundle.tasks[0];
    if (!task) throw new Error(`expected a bundle for task ${name}, got one that knows ${bundle.tasks.map((t) => t.name)}`);
    const open = (file: string) => ort.InferenceSession.create(new Uint8Array(bundle.files.get(file)!), { executionProviders: ["wasm"] });
    const aggregator = await open(`aggregator.${task.name}.onnx`);
    const state = aggregator.inputMetadata.find((input) => input.name === "state");
    const width = Number(state && state.isTensor ? state.shape.at(-1) : 0);
    const student = new Student(task, await open("front_end.onnx"), await open("encoder.onnx"), aggregator, width);
    await student.check(bundle);
    return student;
  }

  /** [240 + segment] samples, context first -> log-mel [80, frames], mel after mel. */
  async logMel(samples: Float32Array): Promise<Float32Array> {
    const out = await this.frontEnd.run({ samples: new ort.Tensor("float32", samples, [1, samples.length]) });
    return out["log_mel"]!.data as Float32Array;
  }

  /** log-mel [80, frames] of a segment -> its embedding [D]; quiet ones are raised to the level of training. */
  async encode(logMel: Float32Array): Promise<Float32Array> {
    return this.encoded(this.raised(logMel));
  }

  initialState(): Float32Array {
    return new Float32Array(this.stateSize);
  }

  async step(embedding: Float32Array, state: Float32Array): Promise<Step> {
    const row = (data: Float32Array) => new ort.Tensor("float32", data, [1, data.length]);
    const out = await this.aggregator.run({ embedding: row(embedding), state: row(state) });
    const data = (name: string) => out[name]?.data as Float32Array;
    return { voice: unit(data("utterance")), state: data("next_state"), scores: data("scores") };
  }

  private async encoded(logMel: Float32Array): Promise<Float32Array> {
    const segment = new ort.Tensor("float32", logMel, [1, MELS, 1, logMel.length / MELS]);
    return (await this.encoder.run({ log_mel: segment }))["embedding"]!.data as Float32Array;
  }

  private raised(logMel: Float32Array): Float32Array {
    const gainDb = Math.min(Math.max(this.leastDb - meanDb(frameLevelsDb(logMel)), 0), MOST_DB);
    if (gainDb === 0) return logMel;
    const gain = 10 ** (gainDb / 10);
    return logMel.map((value) => Math.log(Math.max(Math.exp(value) - LOG_FLOOR, 0) * gain + LOG_FLOOR));
  }

  private async check(bundle: Bundle): Promise<void> {
    const samples = Float32Array.from(bundle.golden.get("samples")!.data, (value) => value / 32768);
    const power = samples.reduce((sum, value) => sum + value * value, 0) / samples.length;
    this.leastDb = 10 * Math.log10(Math.max(power, 1e-9)) - MARGIN_DB;
    const heard = new Float32Array(CONTEXT_SAMPLES + bundle.segmentSamples);
    heard.set(samples.subarray(0, bundle.segmentSamples), CONTEXT_SAMPLES);
    const embedding = await this.encoded(await this.logMel(heard));
    const golden = bundle.golden.get("embeddings")!.data.subarray(0, embedding.length) as Float32Array;
    const cosine = dot(unit(embedding), unit(golden));
    if (!(cosine >= LEAST_COSINE)) throw new Error(`expected the golden embedding (cosine ${LEAST_COSINE}), got ${cosine.toFixed(4)}`);
  }
}

/** RMS level of each frame of log-mel [bands, frames] in dB of full scale; of some of the bands where asked. */
export function frameLevelsDb(logMel: Float32Array, first = 0, last = MELS, frames = logMel.length / MELS): Float64Array {
  const power = new Float64Array(frames);
  for (let band = first; band < last; band += 1)
    for (let frame = 0; frame < frames; frame += 1) power[frame] += Math.exp(logMel[band * frames + frame]!);
  return power.map((value) => 10 * Math.log10(value / FULL_SCALE_POWER));
}

function meanDb(levelsDb: Float64Array): number {
  return 10 * Math.log10(levelsDb.reduce((sum, db) => sum + 10 ** (db / 10), 0) / levelsDb.length);
}

export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += a[i]! * b[i]!;
  return sum;
}

export function unit(vector: Float32Array): Float32Array {
  const length = Math.sqrt(dot(vector, vector)) + 1e-12;
  return vector.map((value) => value / length);
}
