/** A stream of samples at 16 kHz -> segments of log-mel, with how much of each is speech, by an energy gate. */

import { CONTEXT_SAMPLES, MELS, frameLevelsDb, type Student } from "./student.js";

const FRAME = 160; // samples, 10 ms
const SPEECH_BANDS: [number, number] = [5, 70]; // 140 Hz to 5.7 kHz
const PRE_ROLL_FRAMES = 10;
const GATE = { margin: 7, release: 4, minimum: -58, hangover: 25, firstFloor: -60, highestFloor: -35, rise: 0.015, fall: 0.2 };
const OFFSET_SHARE = 1 - Math.exp(-1 / 25); // a mean over a quarter of a second, in frames
const FIRST_FRAMES = 10;

export interface Segment { logMel: Float32Array; start: number; end: number; speechShare: number }

/** A constant added to the signal, taken out: a line between the means at a frame's two ends. Whole frames only. */
class OffsetRemoval {
  private mean: number | null = null;

  remove(samples: Float32Array): Float32Array {
    const means = Array.from({ length: samples.length / FRAME }, (_, frame) => {
      let sum = 0;
      for (let i = 0; i < FRAME; i += 1) sum += samples[frame * FRAME + i]!;
      return sum / FRAME;
    });
    const first = means.slice(0, FIRST_FRAMES);
    let mean = this.mean ?? first.reduce((sum, value) => sum + value, 0) / first.length;
    const out = new Float32Array(samples.length);
    means.forEach((value, frame) => {
      const next = mean + OFFSET_SHARE * (value - mean);
      for (let i = 0; i < FRAME; i += 1) {
        const without = samples[frame * FRAME + i]! - (mean + ((next - mean) * (i + 1)) / FRAME);
        out[frame * FRAME + i] = Math.min(1, Math.max(-1, without));
      }
      mean = next;
    });
    this.mean = mean;
    return out;
  }
}

/** Is anybody speaking? A level above the noise floor, which follows the room; hangover bridges the gaps in words. */
class EnergyGate {
  private floorDb = GATE.firstFloor;
  private sinceSpeech = GATE.hangover + 1;

  frame(levelDb: number): boolean {
    const speaking = this.sinceSpeech <= GATE.hangover;
    const margin = GATE.margin - (speaking ? GATE.release : 0);
    this.sinceSpeech = levelDb > Math.max(this.floorDb + margin, GATE.minimum) ? 0 : this.sinceSpeech + 1;
    if (levelDb < this.floorDb) this.floorDb += GATE.fall * (levelDb - this.floorDb);
    else this.floorDb = Math.min(levelDb, this.floorDb + GATE.rise, GATE.highestFloor);
    return this.sinceSpeech <= GATE.hangover;
  }
}

export class Segmenter {
  private readonly offset = new OffsetRemoval();
  private readonly gate = new EnergyGate();
  private readonly heard: Float32Array; // context, and as much as a segment
  private waiting: Float32Array;
  private count = 0; // samples that wait
  private passed = 0; // samples before them
  private wanted: number;
  private speech: boolean[] = [];

  constructor(private readonly student: Student, private readonly segmentSamples: number, private readonly hopSamples: number) {
    this.heard = new Float32Array(CONTEXT_SAMPLES + segmentSamples);
    this.waiting = new Float32Array(segmentSamples);
    this.wanted = segmentSamples;
  }

  /** The next samples, any number -> the segments that are complete with them. */
  async push(samples: Float32Array): Promise<Segment[]> {
    const segments: Segment[] = [];
    for (let at = 0; at < samples.length; ) {
      const taken = samples.subarray(at, at + this.wanted - this.count);
      this.waiting.set(taken, this.count);
      this.count += taken.length;
      at += taken.length;
      if (this.count === this.wanted) segments.push(await this.segment());
    }
    return segments;
  }

  private async segment(): Promise<Segment> {
    const fresh = this.offset.remove(this.waiting.subarray(0, this.wanted));
    this.heard.copyWithin(0, fresh.length);
    this.heard.set(fresh, this.heard.length - fresh.length);
    const logMel = await this.student.logMel(this.heard);
    const frames = logMel.length / MELS;
    const levels = frameLevelsDb(logMel, ...SPEECH_BANDS, frames).slice(frames - fresh.length / FRAME);
    this.speech = [...this.speech, ...Array.from(levels, (db) => this.gate.frame(db))].slice(-frames);
    this.passed += fresh.length;
    [this.count, this.wanted] = [0, this.hopSamples];
    const speaking = withPreRoll(this.speech).filter(Boolean).length;
    const [start, end] = [this.passed - this.segmentSamples, this.passed].map((samples) => samples / 16_000) as [number, number];
    return { logMel, start, end, speechShare: speaking / frames };
  }
}

/** Speech, and also the 0.1 s before every moment at which the gate opened. */
function withPreRoll(speech: boolean[]): boolean[] {
  const out = [...speech];
  speech.forEach((speaks, frame) => {
    if (speaks && frame > 0 && !speech[frame - 1]) out.fill(true, Math.max(0, frame - PRE_ROLL_FRAMES), frame);
  });
  return out;
}
