// The guest protocol's frames, as crates/guest-protocol has them: a header of 12 bytes, little-endian, and a payload.

import { bytesOf, copyWithin, decode, encode, later, now, parseJson, plain, setBytes, stringify, subarray } from './primordials.ts';

const HEADER_BYTES = 12;
/** The longest payload that is accepted. */
const PAYLOAD_BYTES_MAX = 1024 * 1024;
/** The longest piece of output in one frame. */
export const DATA_BYTES_MAX = 64 * 1024;
/** What is gathered before it is written. */
const OUT_BYTES = 96 * 1024;
/** So many writes to the log in this time go out at once; then a flood has begun, and is written in larger pieces. */
const BURST_WRITES = 64;
const BURST_MS = 10;
/** A piece of a flood. */
const FLOOD_BYTES = 32 * 1024;

export const FROM_HOST = plain({
  hello: 1,
  invoke: 2,
  exec: 3,
  readFile: 4,
  writeFile: 5,
  data: 6,
  dataEnd: 7,
  signal: 8,
  shutdown: 9,
  prepare: 10,
});
export const TO_HOST = plain({
  welcome: 64,
  started: 65,
  stdout: 66,
  stderr: 67,
  system: 68,
  output: 69,
  exited: 70,
  done: 72,
  refused: 73,
});

export interface Frame {
  kind: number;
  channel: number;
  /** Good until the next frame is read. */
  payload: Uint8Array;
}

/** Reads a structured payload. */
export function structured<T>(frame: Frame): T {
  return parseJson(decode(frame.payload)) as T;
}

type ReadSync = (into: Uint8Array) => number | null;
type Read = (into: Uint8Array) => Promise<number | null>;

/** Cuts what arrives into frames. Waits in two ways: with everything else standing still, or beside whatever runs. */
export class FrameReader {
  #bytes = new bytesOf(DATA_BYTES_MAX + HEADER_BYTES);
  #start = 0;
  #end = 0;
  #readSync: ReadSync;
  #read: Read;

  constructor(readSync: ReadSync, read: Read) {
    this.#readSync = readSync;
    this.#read = read;
  }

  /** Returns the next frame, or null at the end of the stream. Nothing else happens meanwhile. */
  next(): Frame | null {
    for (;;) {
      const frame = this.#cut();
      if (frame !== null) return frame;
      if (!this.#took(this.#readSync(this.#room()))) return null;
    }
  }

  /** The same, beside whatever runs. */
  async nextBeside(): Promise<Frame | null> {
    for (;;) {
      const frame = this.#cut();
      if (frame !== null) return frame;
      if (!this.#took(await this.#read(this.#room()))) return null;
    }
  }

  #took(count: number | null): boolean {
    this.#end += count ?? 0;
    return count !== null && count > 0;
  }

  #cut(): Frame | null {
    const held = this.#end - this.#start;
    if (held < HEADER_BYTES) return null;
    const length = this.#number(0);
    if (length > PAYLOAD_BYTES_MAX) throw new Error(`a frame announces ${length} bytes`);
    if (held < HEADER_BYTES + length) return null;
    const begin = this.#start + HEADER_BYTES;
    const frame = plain({
      kind: this.#bytes[this.#start + 8],
      channel: this.#number(4),
      payload: subarray(this.#bytes, begin, begin + length),
    });
    this.#start = begin + length;
    return frame;
  }

  #number(offset: number): number {
    const at = this.#start + offset;
    const bytes = this.#bytes;
    return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
  }

  /** Makes room for the frame that has begun, and at least for some bytes. */
  #room(): Uint8Array {
    const held = this.#end - this.#start;
    const wanted = held >= HEADER_BYTES ? HEADER_BYTES + this.#number(0) : HEADER_BYTES;
    if (this.#start > 0) {
      copyWithin(this.#bytes, 0, this.#start, this.#end);
      this.#start = 0;
      this.#end = held;
    }
    if (wanted > this.#bytes.length) {
      const larger = new bytesOf(wanted);
      setBytes(larger, subarray(this.#bytes, 0, held));
      this.#bytes = larger;
    }
    return subarray(this.#bytes, this.#end);
  }
}

/** Gathers frames and writes them; the host that reads slowly holds everything up, which is meant. */
export class FrameWriter {
  #bytes = new bytesOf(OUT_BYTES);
  #length = 0;
  #writeSync: (bytes: Uint8Array) => number;
  /** Where the last frame begins, to be continued; -1 where there is none. */
  #last = -1;
  #burstBegan = 0;
  #burstWrites = 0;
  #isPlanned = false;

  constructor(writeSync: (bytes: Uint8Array) => number) {
    this.#writeSync = writeSync;
  }

  /** Adds a frame; it is written at the next flush, or before when there is no room. */
  put(kind: number, channel: number, payload: Uint8Array | null = null): void {
    const length = payload === null ? 0 : payload.length;
    if (this.#length + HEADER_BYTES + length > OUT_BYTES) this.flush();
    const bytes = this.#bytes;
    const at = this.#length;
    this.#last = at;
    for (let i = 0; i < 4; i++) {
      bytes[at + i] = length >>> (8 * i);
      bytes[at + 4 + i] = channel >>> (8 * i);
      bytes[at + 8 + i] = 0;
    }
    bytes[at + 8] = kind;
    this.#length += HEADER_BYTES;
    if (payload === null) return;
    if (length > OUT_BYTES - HEADER_BYTES) throw new Error('a frame is longer than the protocol allows');
    setBytes(bytes, payload, this.#length);
    this.#length += length;
  }

  /** Adds a structured frame. */
  putJson(kind: number, channel: number, value: object): void {
    this.put(kind, channel, encode(stringify(value)!));
  }

  /** Adds bytes of any length, in frames of the allowed size. */
  putBytes(kind: number, channel: number, payload: Uint8Array): void {
    for (let begin = 0; begin < payload.length; begin += DATA_BYTES_MAX) {
      const end = begin + DATA_BYTES_MAX;
      this.put(kind, channel, subarray(payload, begin, end < payload.length ? end : payload.length));
    }
  }

  /** Adds bytes of a log, of any length, to the last frame if that is of the same kind and channel. */
  putLog(kind: number, channel: number, payload: Uint8Array): void {
    if (!this.#continued(kind, channel, payload)) this.putBytes(kind, channel, payload);
  }

  #continued(kind: number, channel: number, payload: Uint8Array): boolean {
    const at = this.#last;
    if (at < 0 || this.#bytes[at + 8] !== kind || this.#number(at + 4) !== channel) return false;
    const length = this.#number(at) + payload.length;
    if (length > DATA_BYTES_MAX || this.#length + payload.length > OUT_BYTES) return false;
    for (let i = 0; i < 4; i++) this.#bytes[at + i] = length >>> (8 * i);
    setBytes(this.#bytes, payload, this.#length);
    this.#length += payload.length;
    return true;
  }

  #number(at: number): number {
    const bytes = this.#bytes;
    return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
  }

  /**
   * Writes what was added to a log: at once, so that it is seen whatever the program does next, but for a flood, of which up
   * to a piece may wait until the program pauses.
   */
  flushLog(): void {
    const at = now();
    if (at - this.#burstBegan > BURST_MS) {
      this.#burstBegan = at;
      this.#burstWrites = 0;
    }
    this.#burstWrites++;
    if (this.#burstWrites <= BURST_WRITES || this.#length >= FLOOD_BYTES) return this.flush();
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    later(() => {
      this.#isPlanned = false;
      this.flush();
    });
  }

  flush(): void {
    this.#last = -1;
    let begin = 0;
    while (begin < this.#length) begin += this.#writeSync(subarray(this.#bytes, begin, this.#length));
    this.#length = 0;
  }
}
