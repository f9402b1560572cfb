// The guest of an isolate: speaks the guest protocol over standard input and output, and runs programs in this very process.
//
//   hello ─▶ welcome      prepare ─▶ done      invoke + data ─▶ started, output … ─▶ exited
//
// Between calls the process stands still in a read: no timer, no promise of a program goes on. Only a handler that takes
// several calls at once is read for beside its calls.

import { Call, type Invoke, type Loaded, parted } from './call.ts';
import { type Frame, FROM_HOST, FrameReader, FrameWriter, structured, TO_HOST } from './frames.ts';
import { bytesOf, encode, inspect, plain, setBytes } from './primordials.ts';
import { hook, Program, warmUp } from './program.ts';
import { connect, give } from './surroundings.ts';

const GENERATION = 2;
/** The most bytes of code and input together; the control plane's own limits are lower. */
const UPLOAD_BYTES_MAX = 128 * 1024 * 1024;

const { stdin, stdout, stderr } = Deno;
const end: (code: number) => never = Deno.exit.bind(Deno);
const reader = new FrameReader(stdin.readSync.bind(stdin), stdin.read.bind(stdin));
const writer = new FrameWriter(stdout.writeSync.bind(stdout));

/** The calls that run; more than one only of a handler that wants it so. */
const calls: Call[] = [];
let loaded: Loaded | null = null;
let generation = 0;
/** Which call code belongs to, where there are several. */
let storage: { getStore(): Call | undefined; run(call: Call, work: () => Promise<void>): Promise<void> } | null = null;

connect({
  log: (stream, bytes) => currentCall()?.log(stream, bytes),
  exit(code) {
    currentCall()?.exited(code, null, 0);
    return end(code);
  },
});
hook();
addEventListener('beforeunload', (event) => {
  if (calls.length === 0) return;
  event.preventDefault();
  for (let i = calls.length - 1; i >= 0; i--) calls[i].ranDry();
});
addEventListener('error', (event) => uncaught(event, event.error));
addEventListener('unhandledrejection', (event) => uncaught(event, event.reason));
serve();

function currentCall(): Call | undefined {
  return storage?.getStore() ?? calls[calls.length - 1];
}

/** An error that nobody waits for ends the calls that run: as a process would end with it. */
function uncaught(event: Event, error: unknown): void {
  event.preventDefault();
  if (calls.length === 0) broken(error);
  for (let i = calls.length - 1; i >= 0; i--) {
    calls[i].isTainted = true;
    calls[i].interrupt?.(error);
  }
}

async function serve(): Promise<void> {
  try {
    for (;;) {
      const frame = calls.length === 0 ? reader.next() : await reader.nextBeside();
      if (frame === null) end(0);
      await take(frame);
    }
  } catch (error) {
    broken(error);
  }
}

/** Gives up, with a last word for the host. */
function broken(error: unknown): never {
  stderr.writeSync(encode(`the isolate's host failed: ${inspect(error)}\n`));
  return end(70);
}

async function take(frame: Frame): Promise<void> {
  switch (frame.kind) {
    case FROM_HOST.hello:
      writer.putJson(TO_HOST.welcome, frame.channel, plain({ generation: GENERATION, agent: `deno ${Deno.version.deno}` }));
      return writer.flush();
    case FROM_HOST.prepare:
      if (!isKnown(structured<{ runtime: string }>(frame).runtime)) {
        return refuse(frame.channel, 'not_found', 'isolates run node and typescript');
      }
      await warmUp();
      writer.put(TO_HOST.done, frame.channel);
      return writer.flush();
    case FROM_HOST.invoke:
      return await invoke(frame.channel, structured<Invoke>(frame));
    case FROM_HOST.exec:
    case FROM_HOST.readFile:
    case FROM_HOST.writeFile:
      return refuse(frame.channel, 'invalid', 'isolates run no commands and have no files');
    case FROM_HOST.shutdown:
      return end(0);
    // A signal finds nobody: the host kills the process. Data can only belong to what was refused.
    case FROM_HOST.signal:
    case FROM_HOST.data:
    case FROM_HOST.dataEnd:
      return;
    default:
      return end(1);
  }
}

async function invoke(channel: number, invoke: Invoke): Promise<void> {
  const [code, input] = parted(receive(channel, invoke.code_bytes + invoke.input_bytes), invoke.code_bytes);
  if (!isKnown(invoke.runtime)) return refuse(channel, 'not_found', `isolates run node and typescript, not ${invoke.runtime}`);
  if (invoke.mode === 'forked') return refuse(channel, 'invalid', 'isolates do not fork: use reuse "warm"');
  if (invoke.code_form === 'loaded') return await again(channel, invoke, input);
  const call = new Call(writer, channel, invoke);
  let program;
  try {
    program = await Program.of(code, invoke.code_form, invoke.entrypoint, invoke.runtime, generation);
  } catch (error) {
    return refuse(channel, 'invalid', `the archive cannot be read: ${(error as Error).message}`);
  }
  if (!program.has(invoke.entrypoint)) {
    return refuse(channel, 'invalid', `the archive does not hold the entrypoint '${invoke.entrypoint}'`);
  }
  generation++;
  give({ ...invoke, input });
  calls[0] = call;
  const now = await call.load(program);
  const keeps = invoke.mode === 'warm' && now !== null;
  if (keeps && now.concurrency > 1) await separate();
  if (now !== null) await running(call, () => call.run(now, input, keeps ? now.concurrency : 0));
  loaded = keeps && !call.isTainted ? now : null;
  calls.length = 0;
}

/** Calls the handler that is there. */
async function again(channel: number, invoke: Invoke, input: Uint8Array): Promise<void> {
  const now = loaded;
  if (now === null) return refuse(channel, 'busy', 'no handler is loaded');
  if (calls.length >= now.concurrency) return refuse(channel, 'busy', `the handler takes ${now.concurrency} calls at once`);
  const call = new Call(writer, channel, invoke);
  calls[calls.length] = call;
  call.started();
  // The host sends no more than it was told to; with room for others they are read for meanwhile.
  const over = once(call, now, input);
  if (now.concurrency === 1) await over;
}

async function once(call: Call, now: Loaded, input: Uint8Array): Promise<void> {
  await running(call, () => call.run(now, input, now.concurrency));
  leave(call);
}

function running(call: Call, work: () => Promise<void>): Promise<void> {
  return storage === null ? work() : storage.run(call, work);
}

function leave(call: Call): void {
  if (call.isTainted) loaded = null;
  let kept = 0;
  for (let i = 0; i < calls.length; i++) {
    if (calls[i] !== call) calls[kept++] = calls[i];
  }
  calls.length = kept;
}

/** Makes every call find its own log. */
async function separate(): Promise<void> {
  const { AsyncLocalStorage } = await import('node:async_hooks');
  storage ??= new AsyncLocalStorage<Call>();
}

function isKnown(runtime: string): boolean {
  return runtime === 'node' || runtime === 'typescript';
}

/** Reads the bytes that follow a request, on its channel. */
function receive(channel: number, length: number): Uint8Array {
  if (!(length <= UPLOAD_BYTES_MAX)) end(1);
  const bytes = new bytesOf(length);
  for (let at = 0; at < length; ) {
    const frame = reader.next();
    if (frame === null) end(0);
    if (frame.kind !== FROM_HOST.data || frame.channel !== channel || at + frame.payload.length > length) end(1);
    setBytes(bytes, frame.payload, at);
    at += frame.payload.length;
  }
  return bytes;
}

function refuse(channel: number, code: string, message: string): void {
  writer.putJson(TO_HOST.refused, channel, plain({ code, message }));
  writer.flush();
}
