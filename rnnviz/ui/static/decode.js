// One chunk: base64 of a safetensors blob (an unsigned 64-bit header length, a JSON header, raw arrays).

const TYPES = { I16: Int16Array, I32: Int32Array, F32: Float32Array, F64: Float64Array, U8: Uint8Array };

export function fromBase64(string) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(string);
  const binary = atob(string);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** bytes -> {name: typed array, ..., shape: {name: [...]}} */
export function safetensors(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + size)));
  const arrays = { shape: {} };
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const Type = TYPES[entry.dtype];
    if (!Type) throw new TypeError(`chunk array ${name} has the unknown type ${entry.dtype}`);
    const [from, to] = entry.data_offsets;
    // A copy, because an offset need not be a multiple of the element size. Typed arrays read in the
    // machine's byte order, which is little-endian wherever a browser runs today.
    arrays[name] = new Type(bytes.slice(8 + size + from, 8 + size + to).buffer);
    arrays.shape[name] = entry.shape;
  }
  return arrays;
}

export const UNDERFLOW = -32768; // heat code of zero, or of a value too small for the precision
export const INFINITE = 32767;
export const NOT_A_NUMBER = 32766;

/** The norm behind a heat code (log10 times 100). */
export function heatValue(code) {
  if (code === UNDERFLOW) return 0;
  if (code === INFINITE) return Infinity;
  if (code === NOT_A_NUMBER) return NaN;
  return 10 ** (code / 100);
}
