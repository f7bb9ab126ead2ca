/** A bundle folder over HTTP: manifest.json, and the files it lists, each held against its sha256. See docs/bundle.md. */

import { readArrays, type Arrays } from "./arrays.js";

export interface Task {
  name: string;
  kind: "verification" | "classification";
  labels: string[];
  threshold: number | null;
  temperature: number;
  voice: number;
}

export interface Bundle {
  segmentSamples: number;
  hopSamples: number;
  tasks: Task[];
  files: Map<string, ArrayBuffer>;
  golden: Arrays;
}

const SAMPLE_RATE_HZ = 16_000;

export async function loadBundle(url: string): Promise<Bundle> {
  const manifest = await (await fetched(`${url}/manifest.json`)).json();
  if (manifest.format !== "edge-lupi bundle" || manifest.version !== 1)
    throw new Error(`expected an edge-lupi bundle of version 1 at ${url}, got ${manifest.format} ${manifest.version}`);
  const files = new Map<string, ArrayBuffer>();
  for (const [name, listed] of Object.entries<{ sha256: string; bytes: number }>(manifest.files)) {
    if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(name)) throw new Error(`expected plain file names at ${url}, got ${name}`);
    if (!name.endsWith(".onnx") && !name.endsWith(".npz")) continue;
    const data = await (await fetched(`${url}/${name}`)).arrayBuffer();
    if ((await sha256(data)) !== listed.sha256) throw new Error(`${name} at ${url} is not what its manifest says`);
    files.set(name, data);
  }
  const samples = (seconds: number) => Math.round(seconds * 100) * (SAMPLE_RATE_HZ / 100);
  return {
    segmentSamples: samples(manifest.segment_seconds),
    hopSamples: samples(manifest.hop_seconds),
    tasks: Object.entries<Task>(manifest.tasks).map(([name, task]) => ({ ...task, name, voice: task.voice ?? 0 })),
    files,
    golden: await readArrays(files.get("golden.npz")!),
  };
}

async function fetched(url: string): Promise<Response> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`expected ${url}, got ${response.status}: name a folder that edge-lupi compile wrote`);
  return response;
}

async function sha256(data: ArrayBuffer): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
