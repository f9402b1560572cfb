// Reads a tar.gz archive into memory. The archive is its user's, and so is the memory; the limits keep mistakes small.

/** The most entries. */
const ENTRIES_MAX = 65_536;
/** The most bytes that an archive may unpack to. */
export const UNPACKED_BYTES_MAX = 256 * 1024 * 1024;
/** The most folders in a path. */
const DEPTH_MAX = 64;
const BLOCK = 512;

/** Says what is wrong with an archive. */
export class BadArchive extends Error {}

/** Returns the archive's files by their paths. */
export async function unpack(packed: Uint8Array, bytesMax = UNPACKED_BYTES_MAX): Promise<Map<string, Uint8Array>> {
  return filesOf(await gunzip(packed, bytesMax));
}

async function gunzip(packed: Uint8Array, bytesMax: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    const stream = new Blob([packed as BlobPart]).stream().pipeThrough(new DecompressionStream('gzip'));
    for await (const part of stream) {
      length += part.length;
      if (length > bytesMax) throw new BadArchive(`it unpacks to more than ${bytesMax} bytes`);
      parts.push(part);
    }
  } catch (error) {
    if (error instanceof BadArchive) throw error;
    throw new BadArchive(`it is no gzip stream (${(error as Error).message})`);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Reads a tar stream (POSIX.1-1988 ustar, with the long names of pax and GNU). */
export function filesOf(tar: Uint8Array): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  let longName: string | null = null;
  let entries = 0;
  for (let at = 0; at + BLOCK <= tar.length; ) {
    const header = tar.subarray(at, at + BLOCK);
    if (header.every((byte) => byte === 0)) break;
    if (++entries > ENTRIES_MAX) throw new BadArchive(`it has more than ${ENTRIES_MAX} entries`);
    checkSum(header);
    const size = octal(header, 124, 12);
    const content = tar.subarray(at + BLOCK, at + BLOCK + size);
    if (content.length < size) throw new BadArchive('it ends in the middle of an entry');
    const kind = String.fromCharCode(header[156]);
    if (kind === 'L') {
      longName = text(content);
    } else if (kind === 'x') {
      longName = paxPath(content) ?? longName;
    } else if (kind !== 'g') {
      const name = longName ?? shortName(header);
      longName = null;
      put(files, name, kind, content);
    }
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return files;
}

function put(files: Map<string, Uint8Array>, name: string, kind: string, content: Uint8Array): void {
  const path = cleanPath(name);
  if (kind === '5' || path === '') return;
  if (kind !== '0' && kind !== '\0' && kind !== '7') {
    throw new BadArchive(`its entry '${name}' is neither a file nor a folder`);
  }
  files.set(path, content);
}

/** Returns a path without empty and '.' parts; one that climbs or is absolute is refused. */
export function cleanPath(name: string): string {
  if (name.startsWith('/')) throw new BadArchive(`its entry '${name}' has an absolute path`);
  if (name.includes('\0')) throw new BadArchive(`its entry '${name}' has a NUL in its path`);
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw new BadArchive(`its entry '${name}' climbs out of the archive`);
  if (parts.length > DEPTH_MAX) throw new BadArchive(`its entry '${name}' is more than ${DEPTH_MAX} folders deep`);
  return parts.join('/');
}

function shortName(header: Uint8Array): string {
  const name = text(header.subarray(0, 100));
  const prefix = text(header.subarray(257, 262)) === 'ustar' && header[262] === 0 ? text(header.subarray(345, 500)) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** Finds the path in a pax header: records of "length key=value\n". */
function paxPath(content: Uint8Array): string | null {
  let path = null;
  for (let at = 0; at < content.length; ) {
    const space = content.indexOf(0x20, at);
    const length = Number(text(content.subarray(at, space)));
    if (space < 0 || !(length > space - at)) throw new BadArchive('one of its pax headers cannot be read');
    const record = text(content.subarray(space + 1, at + length - 1));
    if (record.startsWith('path=')) path = record.slice(5);
    at += length;
  }
  return path;
}

function checkSum(header: Uint8Array): void {
  const sum = header.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 0x20 : byte), 0);
  if (sum !== octal(header, 148, 8)) throw new BadArchive('it is no tar archive: a header has a wrong checksum');
}

function octal(header: Uint8Array, at: number, length: number): number {
  const digits = text(header.subarray(at, at + length)).trim();
  if (!/^[0-7]*$/.test(digits)) throw new BadArchive('it is no tar archive: a header has a number that is none');
  return digits === '' ? 0 : parseInt(digits, 8);
}

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}
