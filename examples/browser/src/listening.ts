/** One stream: samples at 16 kHz in, events out, as `edge-lupi listen --gate energy` tells them with nobody enrolled. */

import { loadBundle, type Bundle } from "./bundle.js";
import { Segmenter } from "./segments.js";
import { Student } from "./student.js";
import { SpeakerTracker, type Finding } from "./tracker.js";

export interface Event { time: number; start: number; task: string; label: string; score: number }

const SPEECH_SHARE = 0.5; // a segment with less speech than this is silence
const DEFAULT_THRESHOLD = 0.4;

export class Listening {
  readonly hopMs: number[] = [];
  private readonly segmenter: Segmenter;
  private readonly tracker: SpeakerTracker;

  private constructor(bundle: Bundle, private readonly student: Student) {
    this.segmenter = new Segmenter(student, bundle.segmentSamples, bundle.hopSamples);
    this.tracker = new SpeakerTracker(student, student.task.threshold ?? DEFAULT_THRESHOLD);
  }

  /** Begin with the bundle in this folder, for a task that compares voices. */
  static async open(url: string): Promise<Listening> {
    const bundle = await loadBundle(url);
    const student = await Student.open(bundle);
    if (student.task.kind !== "verification") throw new Error(`expected a bundle that compares voices, got task ${student.task.name}`);
    return new Listening(bundle, student);
  }

  /** The next samples, float32 in [-1, 1], any number: one call after the other has answered. */
  async push(samples: Float32Array): Promise<Event[]> {
    const events: Event[] = [];
    const began = performance.now();
    const segments = await this.segmenter.push(samples);
    for (const segment of segments) {
      const findings = segment.speechShare >= SPEECH_SHARE
        ? await this.tracker.speech(segment, await this.student.encode(segment.logMel))
        : await this.tracker.silence(segment.end);
      events.push(...this.told(findings));
    }
    if (segments.length) this.hopMs.push((performance.now() - began) / segments.length);
    return events;
  }

  async finish(): Promise<Event[]> {
    return this.told(await this.tracker.finish());
  }

  private told(findings: Finding[]): Event[] {
    const { name } = this.student.task;
    return findings.map(({ start, end, label, score }) => ({ time: end, start, task: name, label, score }));
  }
}
