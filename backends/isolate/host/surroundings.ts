// What programs find around them: where a runtime would reach for the process, the network or a terminal, they find the log,
// their own input, or a clear word.

import { encode, startsWith, subarray } from './primordials.ts';

/** What a program's surroundings are connected to. */
export interface Wiring {
  /** Takes bytes for the log of whichever call runs. */
  log(stream: 'stdout' | 'stderr', bytes: Uint8Array): void;
  /** Ends the program at once. */
  exit(code: number): never;
}

const CLOSED = 'the network is closed: this workload has network "none", and the isolate class has no other';
const internals = Deno as unknown as Record<PropertyKey, unknown>;
const globals = globalThis as unknown as Record<PropertyKey, unknown>;

/** Connects everything, once, before foreign code. */
export function connect(wiring: Wiring): void {
  connectConsole(wiring);
  connectStreams(wiring);
  connectExit(wiring);
  closeNetwork();
  const gone = ['alert', 'confirm', 'prompt', 'localStorage', 'sessionStorage', 'caches', 'Worker'];
  for (const name of gone) define(globals, name, undefined);
  define(globals, 'Worker', refusing('Worker: isolates have one thread; isolation "sandbox" has more'));
  // Last: what was taken from it stays. It is a door to Deno's insides that no program needs.
  delete internals[(Deno as unknown as { internal: symbol }).internal];
}

function connectConsole(wiring: Wiring): void {
  const inside = internals[(Deno as unknown as { internal: symbol }).internal] as {
    Console: new (print: (text: string, level: number) => void) => Record<string, unknown>;
  };
  const print = (text: string, level: number) => wiring.log(level > 1 ? 'stderr' : 'stdout', encode(text));
  const ours = new inside.Console(print);
  const theirs = console as unknown as Record<string, unknown>;
  for (const name of Object.keys(ours)) {
    if (name in theirs) theirs[name] = ours[name];
  }
}

function connectStreams(wiring: Wiring): void {
  for (const stream of ['stdout', 'stderr'] as const) {
    const writeSync = (bytes: Uint8Array) => {
      wiring.log(stream, bytes);
      return bytes.length;
    };
    define(internals, stream, {
      writeSync,
      write: (bytes: Uint8Array) => Promise.resolve(writeSync(bytes)),
      isTerminal: () => false,
      close() {},
      get writable() {
        return new WritableStream({ write: (chunk: Uint8Array) => void writeSync(chunk) });
      },
    });
    lazily(process, stream, () => {
      const { Writable } = process.getBuiltinModule('node:stream');
      const write = (chunk: Uint8Array, _encoding: string, done: () => void) => {
        writeSync(chunk);
        done();
      };
      return Object.assign(new Writable({ write }), { fd: stream === 'stdout' ? 1 : 2, isTTY: false });
    });
  }
}

function connectExit(wiring: Wiring): void {
  const code = (given: unknown) => Number(given ?? process.exitCode ?? 0) & 0xff;
  define(internals, 'exit', (given?: unknown) => wiring.exit(code(given)));
  define(process, 'exit', (given?: unknown) => wiring.exit(code(given)));
  define(process, 'reallyExit', (given?: unknown) => wiring.exit(code(given)));
  define(process, 'abort', () => wiring.exit(134));
  define(process, 'cwd', () => '/work');
  define(internals, 'cwd', () => '/work');
}

function closeNetwork(): void {
  const open = fetch;
  const closed = (what: string) => new TypeError(`${what}: ${CLOSED}`);
  define(globals, 'fetch', async (resource: unknown, init?: RequestInit) => {
    const url = resource instanceof Request ? resource.url : `${resource}`;
    if (startsWith(url, 'data:') || startsWith(url, 'blob:')) return await open(resource as RequestInfo, init);
    throw closed(`fetch of ${url}`);
  });
  for (const name of ['WebSocket', 'WebSocketStream', 'EventSource', 'WebTransport']) {
    define(globals, name, refusing(`${name}: ${CLOSED}`));
  }
  const calls = ['connect', 'connectTls', 'startTls', 'listen', 'listenTls', 'listenDatagram', 'resolveDns', 'serve'];
  for (const name of calls) {
    define(internals, name, () => {
      throw closed(`Deno.${name}`);
    });
  }
}

/** Returns a class of which nothing can be made. */
function refusing(why: string): unknown {
  return class {
    constructor() {
      throw new TypeError(why);
    }
  };
}

/** What one program finds. */
export interface Given {
  entrypoint: string;
  args: string[];
  env: Record<string, string>;
  input: Uint8Array;
}

/** Puts a program's own things in their places. */
export function give(given: Given): void {
  const env = Object.assign(Object.create(null), given.env) as Record<string, string>;
  define(process, 'env', env);
  define(internals, 'env', {
    get: (name: string) => env[name],
    set: (name: string, value: string) => void (env[name] = `${value}`),
    has: (name: string) => name in env,
    delete: (name: string) => void delete env[name],
    toObject: () => ({ ...env }),
  });
  define(process, 'argv', ['deno', `/work/${given.entrypoint}`, ...given.args]);
  define(internals, 'args', [...given.args]);
  define(internals, 'mainModule', `file:///work/${given.entrypoint}`);
  process.exitCode = undefined;
  giveInput(given.input);
}

function giveInput(input: Uint8Array): void {
  let at = 0;
  const readSync = (into: Uint8Array): number | null => {
    if (at >= input.length) return null;
    const part = subarray(input, at, at + into.length);
    into.set(part);
    at += part.length;
    return part.length;
  };
  define(internals, 'stdin', {
    readSync,
    read: (into: Uint8Array) => Promise.resolve(readSync(into)),
    isTerminal: () => false,
    close() {},
    get readable() {
      const rest = subarray(input, at);
      at = input.length;
      return new Blob([rest as BlobPart]).stream();
    },
  });
  lazily(process, 'stdin', () => {
    const { Readable } = process.getBuiltinModule('node:stream');
    const { Buffer } = process.getBuiltinModule('node:buffer');
    const rest = Buffer.from(subarray(input, at));
    at = input.length;
    return Object.assign(Readable.from(rest.length > 0 ? [rest] : [], { objectMode: false }), { fd: 0, isTTY: false });
  });
}

function define(target: object, name: PropertyKey, value: unknown): void {
  Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: true });
}

/** Defines something that is made when it is first asked for. */
function lazily(target: object, name: string, make: () => unknown): void {
  Object.defineProperty(target, name, {
    configurable: true,
    enumerable: true,
    get() {
      const value = make();
      define(target, name, value);
      return value;
    },
    set(value) {
      define(target, name, value);
    },
  });
}
