// Frames, byte for byte as crates/guest-protocol writes and reads them.
import assert from 'node:assert/strict';
import { FrameReader, FrameWriter, FROM_HOST, structured, TO_HOST } from '../../host/frames.ts';

function reader(bytes: Uint8Array, piece: number): FrameReader {
  let at = 0;
  const read = (into: Uint8Array) => {
    const part = bytes.subarray(at, at + Math.min(piece, into.length));
    into.set(part);
    at += part.length;
    return part.length === 0 ? null : part.length;
  };
  return new FrameReader(read, (into) => Promise.resolve(read(into)));
}

function frame(kind: number, channel: number, payload: Uint8Array): number[] {
  const { length } = payload;
  return [...new Uint8Array(new Uint32Array([length, channel]).buffer), kind, 0, 0, 0, ...payload];
}

const text = (words: string) => new TextEncoder().encode(words);

Deno.test('frames are cut at their ends, however they arrive', async () => {
  const bytes = new Uint8Array([
    ...frame(FROM_HOST.hello, 0, text('{"a":1}')),
    ...frame(FROM_HOST.data, 0x01020304, new Uint8Array(70_000).fill(7)),
    ...frame(FROM_HOST.dataEnd, 9, new Uint8Array()),
  ]);
  for (const piece of [1, 7, 12, 65_536, 1_000_000]) {
    const frames = reader(bytes, piece);
    assert.deepEqual(structured(frames.next()!), { a: 1 });
    const data = (await frames.nextBeside())!;
    assert.deepEqual([data.kind, data.channel, data.payload.length, data.payload[69_999]], [6, 0x01020304, 70_000, 7]);
    assert.equal(frames.next()!.channel, 9);
    assert.equal(frames.next(), null);
  }
});

Deno.test('a length beyond the limit is refused before there is room for it', () => {
  const bytes = new Uint8Array(12);
  new DataView(bytes.buffer).setUint32(0, 0xffff_ffff, true);
  assert.throws(() => reader(bytes, 12).next(), /4294967295 bytes/);
});

Deno.test('what is written is what is read, and log frames grow together', () => {
  const written: number[] = [];
  const writer = new FrameWriter((bytes) => {
    // A few at a time, as a full socket takes them.
    const taken = bytes.subarray(0, 5);
    written.push(...taken);
    return taken.length;
  });
  writer.put(TO_HOST.started, 3);
  writer.putLog(TO_HOST.stdout, 3, text('one '));
  writer.putLog(TO_HOST.stdout, 3, text('two'));
  writer.putLog(TO_HOST.stderr, 3, text('aside'));
  writer.flush();
  assert.deepEqual(written, [
    ...frame(TO_HOST.started, 3, new Uint8Array()),
    ...frame(TO_HOST.stdout, 3, text('one two')),
    ...frame(TO_HOST.stderr, 3, text('aside')),
  ]);
});

Deno.test('long output is cut into pieces of the allowed length', () => {
  const lengths: number[] = [];
  let whole: number[] = [];
  const writer = new FrameWriter((bytes) => {
    whole.push(...bytes);
    return bytes.length;
  });
  writer.putBytes(TO_HOST.output, 1, new Uint8Array(150_000));
  writer.flush();
  while (whole.length > 0) {
    const length = new DataView(new Uint8Array(whole.slice(0, 4)).buffer).getUint32(0, true);
    lengths.push(length);
    whole = whole.slice(12 + length);
  }
  assert.deepEqual(lengths, [65_536, 65_536, 18_928]);
});
