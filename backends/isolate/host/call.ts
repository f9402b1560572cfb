// One call of a program: from its code and input to the frame that ends it.

import { type FrameWriter, TO_HOST } from './frames.ts';
import { describe, type Failure, printable, Stuck } from './failure.ts';
import { decode, encode, now, parseJson, plain, subarray } from './primordials.ts';
import { activate, type Program } from './program.ts';
import { watchForSilence } from './silence.ts';
import { isResponse, serialize, toJson, Unserializable } from './result.ts';

/** What the host asks for; the protocol's `Invoke`. */
export interface Invoke {
  workload: string;
  runtime: string;
  code_form: 'file' | 'archive' | 'loaded';
  entrypoint: string;
  code_bytes: number;
  input_bytes: number;
  args: string[];
  env: Record<string, string>;
  output_bytes_max: number;
  timeout_ms: number;
  mode: 'once' | 'beside' | 'warm' | 'forked';
}

/** What a module has to offer. */
export interface Loaded {
  program: Program;
  handler: Handler | null;
  /** How many calls at once. */
  concurrency: number;
}

type Handler = (input: unknown, context: object) => unknown;

/** Looks at a handler's promise this often before the host is told that the program runs; most are done by then. */
const TURNS = 4;
const PromiseAtStart = Promise;

export class Call {
  readonly channel: number;
  /** Set while the call waits for nothing but the end of everything that is under way. */
  onDry: (() => void) | null = null;
  /** Fails the call from outside. */
  interrupt: ((error: unknown) => void) | null = null;
  /** Whether something failed that nobody can be sure to have survived. */
  isTainted = false;
  isOver = false;
  #writer: FrameWriter;
  #invoke: Invoke;
  #begun = now();
  #mode: 'script' | 'handler' = 'script';

  constructor(writer: FrameWriter, channel: number, invoke: Invoke) {
    this.#writer = writer;
    this.channel = channel;
    this.#invoke = invoke;
  }

  /** Writes bytes to the call's log. */
  log(stream: 'stdout' | 'stderr', bytes: Uint8Array): void {
    if (this.isOver) return;
    const kind = stream === 'stdout' ? TO_HOST.stdout : TO_HOST.stderr;
    this.#writer.putLog(kind, this.channel, bytes);
    this.#writer.flushLog();
  }

  /** Imports a program, and runs it if it is a script. Returns what is loaded, or null after having told why nothing is. */
  async load(program: Program): Promise<Loaded | null> {
    this.started();
    this.#writer.flush();
    activate(program);
    const unwatch = watchForSilence(() => this.ranDry());
    try {
      const module = await this.#unlessInterrupted(import(program.url));
      unwatch();
      const loaded = { program, handler: handlerOf(module), concurrency: concurrencyOf(module) };
      if (loaded.handler !== null) return loaded;
      await this.#untilDry();
      this.exited(Number(process.exitCode ?? 0) & 0xff, null, 0);
    } catch (error) {
      unwatch();
      await this.fail(error, program, 0);
    }
    return null;
  }

  /** Says that whatever takes time from now on is the program's own. */
  started(): void {
    this.#writer.put(TO_HOST.started, this.channel);
  }

  /** Calls the handler, and tells its result. `reusable` is how many calls at once it takes afterwards. */
  async run(loaded: Loaded, input: Uint8Array, reusable: number): Promise<void> {
    this.#mode = 'handler';
    try {
      const value = input.length === 0 ? null : parseJson(decode(input));
      const handler = loaded.handler!;
      let result = handler(value, this.#context());
      if (isObject(result)) result = await this.#unlessInterrupted(this.#settled(result));
      this.#tell(isResponse(result) ? await serialize(result) : toJson(result), reusable);
    } catch (error) {
      if (error instanceof Unserializable) this.#unserializable(error, reusable);
      else await this.fail(error, loaded.program, reusable);
    }
  }

  /** Ends the call with what went wrong. */
  async fail(error: unknown, program: Program | null, reusable: number): Promise<void> {
    const failure = await describe(error, program);
    this.log('stderr', encode(printable(failure)));
    this.exited(1, failure, this.isTainted ? 0 : reusable);
  }

  /** The call's last frame. */
  exited(code: number, failure: Failure | null, reusable: number): void {
    if (this.isOver) return;
    this.isOver = true;
    const status = plain({ code });
    const error = failure === null ? null : plain(failure);
    this.#writer.putJson(TO_HOST.exited, this.channel, plain({ status, mode: this.#mode, error, reusable }));
    this.#writer.flush();
  }

  #tell(json: string, reusable: number): void {
    const bytes = encode(json);
    const max = this.#invoke.output_bytes_max;
    if (bytes.length > max) {
      const message = `the handler's result has ${bytes.length} bytes of JSON, and ${max} are allowed`;
      return this.exited(1, { code: 'output_too_large', message, stack: null }, reusable);
    }
    this.#writer.putBytes(TO_HOST.output, this.channel, bytes);
    this.exited(0, null, reusable);
  }

  #unserializable(error: Unserializable, reusable: number): void {
    const message = `the handler's result cannot be sent as JSON: ${error.message}`;
    this.log('stderr', encode(`${message}\n`));
    this.exited(1, { code: 'output_invalid', message, stack: null }, reusable);
  }

  /** The handler's second argument. */
  #context(): object {
    const timeoutMs = this.#invoke.timeout_ms;
    const begun = this.#begun;
    return {
      workloadId: this.#invoke.workload,
      timeoutMs,
      remainingMs: () => {
        const left = timeoutMs - (now() - begun);
        return left > 0 ? left - (left % 1) : 0;
      },
    };
  }

  /** Waits for a handler's promise; the host hears that the program runs if that takes longer than a moment. */
  async #settled(result: object): Promise<unknown> {
    let isSettled = false;
    const outcome = (async () => {
      try {
        return await result;
      } finally {
        isSettled = true;
      }
    })();
    for (let turn = 0; turn < TURNS && !isSettled; turn++) await undefined;
    if (!isSettled) this.#writer.flush();
    return await outcome;
  }

  #unlessInterrupted<T>(work: Promise<T>): Promise<T> {
    return new PromiseAtStart((resolve, reject) => {
      const watch = async () => {
        try {
          resolve(await work);
        } catch (error) {
          reject(error);
        }
      };
      this.interrupt = reject;
      watch();
    });
  }

  #untilDry(): Promise<void> {
    return new PromiseAtStart((resolve, reject) => {
      this.interrupt = reject;
      this.onDry = resolve;
    });
  }

  /** Nothing is under way any more. */
  ranDry(): void {
    if (this.onDry !== null) return this.onDry();
    const whose = this.#mode === 'handler' ? "the handler's promise" : 'the module';
    this.interrupt?.(new Stuck(`${whose} never resolves: nothing is left to wait for`));
  }
}

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}

function handlerOf(module: Record<string, unknown>): Handler | null {
  return typeof module.default === 'function' ? (module.default as Handler) : null;
}

/** The most calls at once: as many channels as the protocol's client opens. */
const CONCURRENCY_MAX = 64;

function concurrencyOf(module: Record<string, unknown>): number {
  const given = module.concurrency ?? 1;
  if (typeof given === 'number' && given >= 1 && given <= CONCURRENCY_MAX && given % 1 === 0) return given;
  throw new RangeError(`'concurrency' must be a whole number from 1 to ${CONCURRENCY_MAX}`);
}

/** Cuts code and input out of what came in one piece. */
export function parted(bytes: Uint8Array, codeBytes: number): [Uint8Array, Uint8Array] {
  return [subarray(bytes, 0, codeBytes), subarray(bytes, codeBytes)];
}
