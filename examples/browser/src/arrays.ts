/** NumPy's .npz, a ZIP of .npy files -> arrays by name, int16 and float32. `columns`: in Fortran's order, first axis fastest. */

export type Numbers = Float32Array | Int16Array;
export type Arrays = Map<string, { shape: number[]; columns: boolean; data: Numbers }>;

const END = 0x06054b50; // of the central directory, which says where each file begins
const STORED = 0;
const MAX_BYTES = 1 << 26;

export async function readArrays(zip: ArrayBuffer): Promise<Arrays> {
  const view = new DataView(zip);
  let end = zip.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end -= 1;
  if (end < 0) throw new Error("expected a ZIP of arrays, got something else");
  const arrays: Arrays = new Map();
  let at = view.getUint32(end + 16, true);
  for (let count = view.getUint16(end + 10, true); count > 0; count -= 1) {
    const [method, packed, size] = [view.getUint16(at + 10, true), view.getUint32(at + 20, true), view.getUint32(at + 24, true)];
    const [nameLength, extra] = [view.getUint16(at + 28, true), view.getUint16(at + 30, true) + view.getUint16(at + 32, true)];
    const name = new TextDecoder().decode(new Uint8Array(zip, at + 46, nameLength));
    const local = view.getUint32(at + 42, true);
    const begin = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    if (size > MAX_BYTES) throw new Error(`expected an array of at most ${MAX_BYTES} bytes, got ${size} in ${name}`);
    const bytes = zip.slice(begin, begin + packed);
    arrays.set(name.replace(/\.npy$/, ""), parsed(method === STORED ? bytes : await inflated(bytes)));
    at += 46 + nameLength + extra;
  }
  return arrays;
}

async function inflated(bytes: ArrayBuffer): Promise<ArrayBuffer> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

function parsed(npy: ArrayBuffer): { shape: number[]; columns: boolean; data: Numbers } {
  const begin = 10 + new DataView(npy).getUint16(8, true);
  const header = new TextDecoder("latin1").decode(new Uint8Array(npy, 10, begin - 10));
  const kind = /'descr': '<(f4|i2)'/.exec(header)?.[1];
  const shape = /'shape': \(([^)]*)\)/.exec(header)?.[1];
  if (!kind || shape === undefined) throw new Error(`expected float32 or int16, got ${header.trim()}`);
  const data = kind === "f4" ? new Float32Array(npy.slice(begin)) : new Int16Array(npy.slice(begin));
  return { shape: shape.split(",").filter((s) => s.trim()).map(Number), columns: header.includes("True"), data };
}
