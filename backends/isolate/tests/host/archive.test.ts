// Archives, the hostile ones first.
import assert from 'node:assert/strict';
import { BadArchive, cleanPath, filesOf, unpack } from '../../host/archive.ts';

const BLOCK = 512;

function entry(name: string, content: string, kind = '0'): Uint8Array {
  const body = new TextEncoder().encode(content);
  const bytes = new Uint8Array(BLOCK + Math.ceil(body.length / BLOCK) * BLOCK);
  const set = (at: number, text: string) => bytes.set(new TextEncoder().encode(text), at);
  set(0, name);
  set(124, `${body.length.toString(8).padStart(11, '0')}\0`);
  set(148, ' '.repeat(8));
  set(156, kind);
  set(257, 'ustar\x0000');
  const sum = bytes.subarray(0, BLOCK).reduce((sum, byte) => sum + byte, 0);
  set(148, `${sum.toString(8).padStart(6, '0')}\0 `);
  bytes.set(body, BLOCK);
  return bytes;
}

function tar(...entries: Uint8Array[]): Uint8Array {
  return new Uint8Array([...entries.flatMap((entry) => [...entry]), ...new Array(2 * BLOCK).fill(0)]);
}

async function gzip(bytes: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([bytes as BlobPart]).stream().pipeThrough(new CompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const text = (bytes?: Uint8Array) => new TextDecoder().decode(bytes);

Deno.test('files are found by their paths, long ones too', async () => {
  const long = `${'folder/'.repeat(20)}file.js`;
  const record = `path=${long}\n`;
  const files = await unpack(
    await gzip(
      tar(
        entry('./a/', '', '5'),
        entry('./a/b.js', 'one'),
        entry('x', `${record.length + 4} ${record}`, 'x'),
        entry('cut', 'two'),
        entry('y', `other/${long}\0`, 'L'),
        entry('cut', 'three'),
      ),
    ),
  );
  assert.deepEqual([...files].map(([path, bytes]) => [path, text(bytes)]), [
    ['a/b.js', 'one'],
    [long, 'two'],
    [`other/${long}`, 'three'],
  ]);
});

Deno.test('paths that lead out are refused', () => {
  for (const name of ['../a', 'a/../../b', '/etc/passwd', 'a\0b', 'a/'.repeat(70)]) {
    assert.throws(() => cleanPath(name), BadArchive, name);
  }
  assert.equal(cleanPath('./a//b/./c'), 'a/b/c');
});

Deno.test('links and devices are refused', () => {
  for (const kind of ['1', '2', '3', '4', '6']) {
    assert.throws(() => filesOf(tar(entry('a', '', kind))), /neither a file nor a folder/);
  }
});

Deno.test('a bomb stops at the limit', async () => {
  const bomb = await gzip(new Uint8Array(4 * 1024 * 1024));
  await assert.rejects(unpack(bomb, 1024 * 1024), /more than 1048576 bytes/);
});

Deno.test('what is no archive is told so', async () => {
  await assert.rejects(unpack(new TextEncoder().encode('not gzip')), /no gzip stream/);
  await assert.rejects(unpack(await gzip(new Uint8Array(BLOCK).fill(65))), /no tar archive/);
  await assert.rejects(unpack(await gzip(tar(entry('a', 'x'.repeat(600))).subarray(0, BLOCK + 10))), /middle of an entry/);
});
