/** Who speaks: segment embeddings -> turns of numbered speakers. The same rules as edge_lupi/runtime/trackers/speaker.py,
 * where nobody is enrolled: a segment unlike its turn is held back until the next one tells a new turn from a stray, and a
 * voice that nobody knows gets a number once it has spoken for a while. */

import type { Segment } from "./segments.js";
import { dot, unit, type Student } from "./student.js";

const [CHANGE, RETURN, EARLY] = [0.8, 0.85, 0.55]; // shares of the threshold
const [EARLY_SECONDS, FOUNDING_SECONDS, PAUSE_SECONDS, TOLERANCE_SECONDS] = [3, 2, 1, 1e-3];
const UNKNOWN = "unknown";
const MOST_STRANGERS = 200;

export interface Finding { start: number; end: number; label: string; score: number }

interface Piece { start: number; end: number; embedding: Float32Array; alone: Float32Array }

interface Turn {
  state: Float32Array;
  voice: Float32Array;
  pieces: number;
  seconds: number;
  end: number;
  label: string;
  score: number;
  number: number | null;
  untold: number | null; // where begins what is told with its next finding
}

/** Voices that got a number; each is the mean of its turns, and who was heard longest ago is forgotten first. */
class Strangers {
  private readonly sums = new Map<string, Float32Array>();

  has(label: string): boolean {
    return this.sums.has(label);
  }

  cosines(voice: Float32Array): Array<[string, number]> {
    return Array.from(this.sums, ([name, sum]) => [name, dot(unit(sum), voice)]);
  }

  add(name: string, voice: Float32Array, pieces: number): void {
    const before = this.sums.get(name);
    this.sums.delete(name);
    if (this.sums.size === MOST_STRANGERS) this.sums.delete(this.sums.keys().next().value!);
    this.sums.set(name, voice.map((value, i) => pieces * value + (before ? before[i]! : 0)));
  }
}

export class SpeakerTracker {
  private readonly strangers = new Strangers();
  private readonly change: number;
  private numbers = 0;
  private turn: Turn | null = null;
  private held: Piece | null = null;
  private lastSpeech = 0;

  constructor(private readonly student: Student, private readonly threshold: number) {
    this.change = threshold * CHANGE;
  }

  async speech(segment: Segment, embedding: Float32Array): Promise<Finding[]> {
    const before = await this.silence(segment.start);
    this.lastSpeech = segment.end;
    const { voice } = await this.student.step(embedding, this.student.initialState());
    return [...before, ...(await this.place({ start: segment.start, end: segment.end, embedding, alone: voice }))];
  }

  async silence(now: number): Promise<Finding[]> {
    return now - this.lastSpeech < PAUSE_SECONDS ? [] : this.finish();
  }

  async finish(): Promise<Finding[]> {
    const held = this.takeHeld();
    return [...(held ? this.stray(held) : []), ...this.endTurn()];
  }

  private async place(piece: Piece): Promise<Finding[]> {
    const held = this.takeHeld();
    if (this.turn && this.goesOn(this.turn, piece.alone)) return this.join(piece, held);
    if (held && dot(piece.alone, held.alone) >= this.change) {
      const before = this.endTurn();
      await this.absorb(held);
      return [...before, ...(await this.join(piece, held))];
    }
    const before = held ? this.stray(held) : [];
    const [label, cosine] = this.match(piece.alone);
    if (cosine >= this.threshold) {
      if (this.turn && label !== this.turn.label) before.push(...this.endTurn());
      return [...before, ...(await this.join(piece, null))];
    }
    this.held = piece;
    return before;
  }

  private goesOn(turn: Turn, alone: Float32Array): boolean {
    const likeness = dot(alone, turn.voice);
    if (likeness < this.change) return false;
    const cosines = this.strangers.cosines(alone);
    const own = cosines.find(([name]) => name === turn.label)?.[1] ?? -1;
    const rivals = cosines.filter(([name]) => name !== turn.label).map(([, cosine]) => cosine);
    return Math.max(likeness, own) >= Math.max(-1, ...rivals);
  }

  private async join(piece: Piece, since: Piece | null): Promise<Finding[]> {
    const [turn, likeness] = await this.absorb(piece);
    turn.untold ??= (since ?? piece).start;
    const named = this.name(turn, likeness);
    if (!named) return [];
    [turn.label, turn.score] = named;
    return this.tell(turn);
  }

  private name(turn: Turn, likeness: number): [string, number] | null {
    const [label, cosine] = this.match(turn.voice);
    const young = turn.seconds < EARLY_SECONDS - TOLERANCE_SECONDS;
    const level = this.strangers.has(label) ? this.threshold * (young ? EARLY : RETURN) : this.threshold;
    if (cosine >= level) return [label, cosine];
    if (turn.number === null && turn.seconds < FOUNDING_SECONDS - TOLERANCE_SECONDS) return null;
    turn.number ??= this.numbers += 1;
    return [`speaker ${turn.number}`, likeness];
  }

  private tell(turn: Turn): Finding[] {
    const start = turn.untold;
    turn.untold = null;
    return start === null ? [] : [{ start, end: turn.end, label: turn.label, score: turn.score }];
  }

  private async absorb(piece: Piece): Promise<[Turn, number]> {
    const turn = this.turn ?? newTurn(this.student.initialState(), piece.alone);
    const likeness = dot(piece.alone, turn.voice);
    const step = await this.student.step(piece.embedding, turn.state);
    [turn.state, turn.voice] = [step.state, step.voice];
    turn.pieces += 1;
    turn.seconds += piece.end - Math.max(piece.start, turn.end);
    turn.end = piece.end;
    this.turn = turn;
    return [turn, likeness];
  }

  private stray(piece: Piece): Finding[] {
    const { start, end } = piece;
    if (this.turn) return [...this.tell(this.turn), { start, end, label: this.turn.label, score: this.turn.score }];
    const [label, cosine] = this.match(piece.alone);
    const level = this.strangers.has(label) ? this.threshold * EARLY : this.threshold;
    return [{ start, end, label: cosine >= level ? label : UNKNOWN, score: cosine }];
  }

  private match(voice: Float32Array): [string, number] {
    return this.strangers.cosines(voice).reduce<[string, number]>(
      (best, next) => (best[0] === UNKNOWN || next[1] > best[1] ? next : best),
      [UNKNOWN, 0],
    );
  }

  private endTurn(): Finding[] {
    const turn = this.turn;
    this.turn = null;
    if (!turn) return [];
    const untold = this.tell(turn);
    if (turn.label !== UNKNOWN) this.strangers.add(turn.label, turn.voice, turn.pieces);
    return untold;
  }

  private takeHeld(): Piece | null {
    const held = this.held;
    this.held = null;
    return held;
  }
}

function newTurn(state: Float32Array, voice: Float32Array): Turn {
  return { state, voice, pieces: 0, seconds: 0, end: 0, label: UNKNOWN, score: 0, number: null, untold: null };
}
