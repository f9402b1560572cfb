// What a handler returns, as JSON text: bytes and responses have forms of their own, and what JSON has no word for is refused.

import { bytesOf, includes, isBuffer, isFinite, isView, split, startsWith, stringify, toBase64 } from './primordials.ts';

/** Says why a result cannot be sent. */
export class Unserializable extends Error {}

const ResponseAtStart = Response;
const isSame = Object.is;

/** Returns the JSON text of a result. */
export async function serialize(result: unknown): Promise<string> {
  return toJson(result instanceof ResponseAtStart ? await ofResponse(result) : result);
}

/** Tells whether a result needs to be waited for. */
export function isResponse(result: unknown): boolean {
  return result instanceof ResponseAtStart;
}

/** Returns the JSON text of anything but a response. */
export function toJson(result: unknown): string {
  if (result === undefined) return 'null';
  let json;
  try {
    json = stringify(result, function (key, value) {
      return checked(this, key, value, result);
    });
  } catch (error) {
    if (error instanceof Unserializable) throw error;
    throw new Unserializable(reason(error));
  }
  if (json === undefined) throw new Unserializable(`${article(result)} has no JSON form`);
  return json;
}

/** Returns what stands for a value, or throws. */
function checked(holder: object, key: string, value: unknown, root: unknown): unknown {
  switch (typeof value) {
    case 'number':
      if (isFinite(value)) return value;
      throw refused(`${value} has no JSON form`, holder, key, root);
    case 'bigint':
    case 'function':
    case 'symbol':
      throw refused(`${article(value)} has no JSON form`, holder, key, root);
    case 'object':
      return value === null ? null : ofObject(holder, key, value);
    default:
      return value;
  }
}

function ofObject(holder: object, key: string, value: object): unknown {
  // A Buffer has become { type, data } by its own toJSON before anybody else sees it.
  const original = (value as { type?: unknown }).type === 'Buffer' ? (holder as Record<string, unknown>)[key] : value;
  if (isView(original)) {
    return { $bytes: toBase64(new bytesOf(original.buffer, original.byteOffset, original.byteLength)) };
  }
  return isBuffer(original) ? { $bytes: toBase64(new bytesOf(original)) } : value;
}

/** Returns what stands for a response: its status, its headers, and its body as JSON, text or bytes. */
async function ofResponse(response: Response): Promise<object> {
  const headers: Record<string, string> = {};
  response.headers.forEach((value, name) => {
    headers[name] = value;
  });
  const bytes = new bytesOf(await response.arrayBuffer());
  return { status: response.status, headers, body: ofBody(bytes, response.headers.get('content-type') ?? '') };
}

function ofBody(bytes: Uint8Array, contentType: string): unknown {
  if (bytes.length === 0) return null;
  let text;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return bytes;
  }
  if (!includes(contentType, 'json')) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function refused(why: string, holder: object, key: string, root: unknown): Unserializable {
  const path = key === '' && isSame((holder as Record<string, unknown>)[''], root) ? null : pathOf(root, holder, key);
  return new Unserializable(path === null ? why : `${why} (at ${path})`);
}

/** Finds where a value is in the result; only asked when something is wrong. */
function pathOf(root: unknown, holder: object, key: string): string {
  const seen = new Set<unknown>();
  const names: string[] = [];
  const isFound = (value: unknown): boolean => {
    if (value === holder) return true;
    if (typeof value !== 'object' || value === null || seen.has(value)) return false;
    seen.add(value);
    for (const name of Object.keys(value)) {
      names.push(step(value, name));
      if (isFound((value as Record<string, unknown>)[name])) return true;
      names.pop();
    }
    return false;
  };
  isFound(root);
  return `result${names.join('')}${step(holder, key)}`;
}

function step(holder: object, name: string): string {
  return Array.isArray(holder) ? `[${name}]` : `.${name}`;
}

function reason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  // V8 draws a picture of a circle; its last line names the property.
  const lines = split(message, '\n');
  const last = lines[lines.length - 1];
  return startsWith(last, '    ---') ? `${lines[0]} (${last.slice(8)})` : lines[0];
}

function article(value: unknown): string {
  const name = typeof value;
  return name === 'bigint' ? 'a BigInt' : `a ${name}`;
}
