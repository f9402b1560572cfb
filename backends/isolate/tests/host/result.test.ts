// What handlers return, as JSON.
import assert from 'node:assert/strict';
import { serialize, Unserializable } from '../../host/result.ts';

Deno.test('JSON values are themselves, and nothing is null', async () => {
  for (const value of [null, true, 'text', 1.5, [], {}, { a: [1, { b: null }] }]) {
    assert.equal(await serialize(value), JSON.stringify(value));
  }
  assert.equal(await serialize(undefined), 'null');
  assert.equal(await serialize({ a: undefined, b: [undefined] }), '{"b":[null]}');
  assert.equal(await serialize(new Date(0)), '"1970-01-01T00:00:00.000Z"');
});

Deno.test('bytes are base64 under a name of their own, wherever they are', async () => {
  const bytes = new Uint8Array([0, 255, 16]);
  for (const value of [bytes, bytes.buffer, new DataView(bytes.buffer), Buffer.from(bytes)]) {
    assert.equal(await serialize(value), '{"$bytes":"AP8Q"}');
    assert.equal(await serialize({ a: [value] }), '{"a":[{"$bytes":"AP8Q"}]}');
  }
  assert.equal(await serialize(bytes.subarray(1)), '{"$bytes":"/xA="}');
});

Deno.test('a response is its status, headers and body', async () => {
  assert.deepEqual(JSON.parse(await serialize(Response.json({ a: 1 }, { status: 201 }))), {
    status: 201,
    headers: { 'content-type': 'application/json' },
    body: { a: 1 },
  });
  const text = JSON.parse(await serialize(new Response('words', { headers: { 'x-a': 'b' } })));
  assert.deepEqual([text.body, text.headers['x-a']], ['words', 'b']);
  assert.deepEqual(JSON.parse(await serialize(new Response(new Uint8Array([255])))).body, { $bytes: '/w==' });
  assert.equal(JSON.parse(await serialize(new Response(null, { status: 204 }))).body, null);
});

Deno.test('what JSON has no word for is refused with its place', async () => {
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  const cases: [unknown, RegExp][] = [
    [NaN, /^NaN has no JSON form$/],
    [{ a: [1, -Infinity] }, /-Infinity has no JSON form \(at result\.a\[1\]\)/],
    [1n, /^a BigInt has no JSON form$/],
    [{ deep: { n: 1n } }, /a BigInt has no JSON form \(at result\.deep\.n\)/],
    [() => 1, /a function has no JSON form/],
    [[Symbol('s')], /a symbol has no JSON form \(at result\[0\]\)/],
    [circle, /circular structure.*'self' closes the circle/],
    [{ toJSON() { throw new Error('mine'); } }, /mine/],
  ];
  for (const [value, words] of cases) {
    await assert.rejects(serialize(value), (error: Error) => error instanceof Unserializable && words.test(error.message));
  }
});
