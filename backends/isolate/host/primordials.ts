// What the host still uses when foreign code has run, taken before that: foreign code may change every prototype and global.

const { bind, call } = Function.prototype;
/** Turns a method into a function that takes its object first. */
const uncurry = bind.bind(call) as unknown as <T, A extends unknown[], R>(
  method: (this: T, ...args: A) => R,
) => (self: T, ...args: A) => R;

export const parseJson: (text: string) => unknown = JSON.parse;
export const stringify: (value: unknown, replacer?: (this: object, key: string, value: unknown) => unknown) => string | undefined =
  JSON.stringify;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
export const encode: (text: string) => Uint8Array = encoder.encode.bind(encoder);
export const decode: (bytes: Uint8Array) => string = decoder.decode.bind(decoder);

type Bytes = Uint8Array<ArrayBufferLike>;
export const subarray = uncurry<Bytes, [number, number?], Bytes>(Uint8Array.prototype.subarray);
export const setBytes = uncurry<Bytes, [ArrayLike<number>, number?], void>(Uint8Array.prototype.set);
export const copyWithin = uncurry<Bytes, [number, number, number?], Bytes>(Uint8Array.prototype.copyWithin);
export const toBase64 = uncurry<Bytes, [], string>(
  (Uint8Array.prototype as unknown as { toBase64(): string }).toBase64,
);
export const bytesOf = Uint8Array;
export const isView = ArrayBuffer.isView;
const bufferLength = Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, 'byteLength')!.get!;

/** Tells an ArrayBuffer by what it is and not by what it says. */
export function isBuffer(value: unknown): value is ArrayBuffer {
  try {
    uncurry<unknown, [], number>(bufferLength)(value);
    return true;
  } catch {
    return false;
  }
}

export const isFinite = Number.isFinite;
export const now: () => number = performance.now.bind(performance);
/** Runs something when the code that runs now has come to its end. */
export const later = queueMicrotask;
export const inspect = Deno.inspect;
export const startsWith = uncurry<string, [string], boolean>(String.prototype.startsWith);
export const endsWith = uncurry<string, [string], boolean>(String.prototype.endsWith);
export const includes = uncurry<string, [string], boolean>(String.prototype.includes);
export const slice = uncurry<string, [number, number?], string>(String.prototype.slice);
export const replace = uncurry<string, [RegExp, string], string>(
  String.prototype.replace as (this: string, pattern: RegExp, by: string) => string,
);
export const split = uncurry<string, [string], string[]>(
  String.prototype.split as (this: string, by: string) => string[],
);
export const mapGet = uncurry<Map<string, unknown>, [string], unknown>(Map.prototype.get);
export const mapHas = uncurry<Map<string, unknown>, [string], boolean>(Map.prototype.has);

/** Makes an object that inherits nothing, so that nothing foreign is in it. */
export function plain<T extends object>(values: T): T {
  return Object.setPrototypeOf(values, null) as T;
}
