// Runs a handler or a script of JavaScript or TypeScript, on Node.js or Deno.
//
// argv: the interpreter, this file, the program's file, its language, the workload's id, its timeout in milliseconds, the
// program's arguments. A resident interpreter has none but the first two: it is started ahead of the code, or to stay with
// it, and gets the others as a job.
//
// Descriptor 3 takes the report: H when a handler is called, R and its result, or E and an error.
//
// Descriptor 4, of residents only, is a socket. Down come jobs, each as its length in four bytes, little-endian, and fields
// between NULs: first mode, number of arguments, file, language, workload, timeout, arguments, variables; later only workload,
// timeout, input. Up go words of a letter and a number in four bytes: P when the interpreter is ready, B before so many bytes
// of the report, D with the wait status of a call that is over while the handler stays.
'use strict';

const fs = require('node:fs');
const Module = require('node:module');

const REPORT = 3;
const JOBS = 4;
const MESSAGE_CHARS = 8 * 1024;
const STACK_CHARS = 64 * 1024;
/** What every job has before the program's own arguments. */
const SHIM_ARGUMENTS = 4;
/** The wait status of an exit with code 1. */
const FAILED = 1 << 8;
const SHIM = __filename;
let mode = 'once';
let BEGUN, FILE, LANGUAGE, WORKLOAD, TIMEOUT_MS, ARGS;

let isPending = false;
let isReported = false;
let descriptor = null;
/** What to do when the handler can never end. */
let giveUp = fail;
/** The generated file that runs in place of the user's, and shall not be seen in tracebacks. */
let standIn = null;

if (process.argv.length > 2) begin();
// A turn of its own for the program, as it has in a fresh interpreter.
else ahead().then(() => setImmediate(waitForCode));

function begin() {
  BEGUN = performance.now();
  [FILE, LANGUAGE, WORKLOAD, TIMEOUT_MS, ...ARGS] = process.argv.slice(2);
  process.argv.splice(1, Infinity, FILE, ...ARGS);
  // Node prints the error itself and ends with exit code 1; this only reports it.
  process.on('uncaughtExceptionMonitor', (error) => {
    if (process.listenerCount('uncaughtException') === 0) reportError(error);
  });
  process.on('beforeExit', () => {
    if (isPending) {
      isPending = false;
      giveUp(new Error('the handler waits for something that never happens'));
    }
  });
  run().catch(fail);
}

/** Loads what programs need, while nobody waits for it. */
async function ahead() {
  for (const name of ['child_process', 'net', 'path', 'url', 'vm']) require(`node:${name}`);
  // The loader of ES modules is made with the first module that comes from a file.
  const file = `${__dirname}/.vulcan-ahead.mjs`;
  try {
    fs.writeFileSync(file, '');
    await importDefault(file);
  } finally {
    fs.rmSync(file, { force: true });
  }
}

async function run() {
  const handler = await load();
  if (typeof handler !== 'function') return;
  write('H');
  const text = fs.readFileSync(0, 'utf8');
  if (mode === 'once') await serveOnce(handler, text);
  else serve(handler, text);
}

async function serveOnce(handler, text) {
  const input = parse(text);
  isPending = true;
  const result = await handler(input, context(WORKLOAD, TIMEOUT_MS, BEGUN));
  isPending = false;
  const [said, status] = success(result);
  await drained();
  write(said);
  // What the handler left behind is not waited for.
  process.exit(status === 0 ? undefined : 1);
}

/** Answers calls until the agent ends this process, or the handler does. */
function serve(handler, firstText) {
  const { Socket } = require('node:net');
  // Between calls it keeps the process alive; during a call, only what the handler waits for does.
  const jobs = new Socket({ fd: JOBS, readable: true, writable: true });
  let calls = 0;
  const end = (said, status) => {
    isPending = false;
    jobs.ref();
    const bytes = Buffer.from(said);
    // In one piece, so that the agent wakes up once.
    jobs.write(Buffer.concat([word('B', bytes.length), bytes, word('D', status)]));
  };
  const call = async (text, ...about) => {
    const number = ++calls;
    isPending = true;
    jobs.unref();
    let answer;
    try {
      answer = success(await handler(parse(text), context(...about)));
    } catch (error) {
      answer = failure(error);
    }
    await drained();
    // A call that was given up may end all the same.
    if (isPending && number === calls) end(...answer);
  };
  giveUp = (error) => end(...failure(error));
  // Without the agent nobody is left to tell.
  for (const event of ['end', 'error']) jobs.on(event, () => process.reallyExit(0));
  jobs.on('data', gather((job) => {
    const workload = job.indexOf(0);
    const timeout = job.indexOf(0, workload + 1);
    const [id, ms] = [job.toString('utf8', 0, workload), job.toString('utf8', workload + 1, timeout)];
    call(job.toString('utf8', timeout + 1), id, ms, performance.now());
  }));
  call(firstText, WORKLOAD, TIMEOUT_MS, BEGUN);
}

/** Puts pieces together to whole jobs. */
function gather(take) {
  let pieces = [];
  let bytes = 0;
  return (piece) => {
    pieces.push(piece);
    bytes += piece.length;
    if (bytes < 4) return;
    if (pieces[0].length < 4) pieces = [Buffer.concat(pieces)];
    if (bytes - 4 < pieces[0].readUInt32LE()) return;
    const job = pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
    pieces = [];
    bytes = 0;
    take(job.subarray(4));
  };
}

/** Becomes what a fresh interpreter would be that was started with the job that comes, and begins. */
function waitForCode() {
  send(JOBS, word('P', 0));
  const [wanted, count, ...rest] = receive().toString().split('\0');
  mode = wanted;
  const end = SHIM_ARGUMENTS + Number(count);
  process.argv.push(...rest.slice(0, end));
  for (const name of Object.keys(process.env)) delete process.env[name];
  for (const variable of rest.slice(end)) {
    const at = variable.indexOf('=');
    process.env[variable.slice(0, at)] = variable.slice(at + 1);
  }
  if (mode === 'once') fs.closeSync(JOBS);
  begin();
}

/** Waits for the first job, and for nothing else: no other code runs yet. */
function receive() {
  let job = null;
  const take = gather((whole) => (job = whole));
  while (job === null) {
    const piece = Buffer.alloc(64 * 1024);
    const count = fs.readSync(JOBS, piece);
    if (count === 0) process.reallyExit(0);
    take(piece.subarray(0, count));
  }
  return job;
}

/** Returns the report of a result, and the wait status of its call. */
function success(result) {
  const { json, problem } = serialize(result);
  if (problem === undefined) return [`R${json}`, 0];
  process.stderr.write(`${problem}\n`);
  return [errorReport('output_invalid', problem, null), FAILED];
}

/** Tells the log of an error; returns the report of it, and the wait status of its call. */
function failure(error) {
  const { message, stack } = describe(error);
  process.stderr.write(`${stack ?? message}\n`);
  return [errorReport('exception', message, stack), FAILED];
}

function word(letter, number) {
  const bytes = Buffer.alloc(5, letter);
  bytes.writeUInt32LE(number, 1);
  return bytes;
}

function parse(text) {
  const json = text.trim();
  return json === '' ? null : JSON.parse(json);
}

/**
 * What a handler gets as its second argument.
 * workloadId: the id of this workload. timeoutMs: how long it may take in all. remainingMs(): how much of that is left.
 */
function context(workloadId, timeout, begun) {
  const timeoutMs = Number(timeout);
  return {
    workloadId,
    timeoutMs,
    remainingMs: () => Math.max(0, Math.floor(timeoutMs - (performance.now() - begun))),
  };
}

/** Runs the program's file, and returns its handler, if it has one. */
async function load() {
  if (LANGUAGE === 'typescript' || /\.[cm]?ts$/.test(FILE)) return loadTypescript();
  const source = fs.readFileSync(FILE, 'utf8');
  if (isModule(source)) {
    if (FILE.endsWith('.js')) declareModule();
    return importDefault(FILE);
  }
  return requireDefault(source);
}

function requireDefault(source) {
  // As with `require.main === module`: a file with a handler is not the main one, a script is.
  const isScript = !/\bmodule\s*\.\s*exports\b|\bexports\s*\.\s*default\b/.test(source);
  const exported = Module._load(FILE, null, isScript);
  return typeof exported === 'function' ? exported : exported?.default;
}

async function importDefault(file) {
  const { pathToFileURL } = require('node:url');
  return (await import(pathToFileURL(file).href)).default;
}

/** Decides as Node does: by the extension, by package.json, and where neither says, by what does not compile as CommonJS. */
function isModule(source) {
  if (FILE.endsWith('.mjs')) return true;
  if (FILE.endsWith('.cjs')) return false;
  const type = packageType().type;
  if (type !== undefined) return type === 'module';
  if (!/\b(import|export|await)\b/.test(source)) return false;
  try {
    const names = ['exports', 'require', 'module', '__filename', '__dirname'];
    require('node:vm').compileFunction(source, names, { filename: FILE });
    return false;
  } catch (error) {
    return /import statement outside a module|Unexpected token 'export'|'?import\.meta'? outside a module|await is only valid|'(exports|require|module|__filename|__dirname)' has already been declared/.test(
      error.message,
    );
  }
}

/** Finds the package.json that rules over the file, and what it says of the kind of its files. */
function packageType() {
  const path = require('node:path');
  for (let folder = path.dirname(FILE); ; folder = path.dirname(folder)) {
    const manifest = path.join(folder, 'package.json');
    if (fs.existsSync(manifest)) {
      const json = JSON.parse(fs.readFileSync(manifest, 'utf8'));
      return { manifest, json, type: json?.type };
    }
    if (folder === path.dirname(folder)) return { manifest: null, json: {}, type: undefined };
  }
}

/** Older versions of Node go by package.json alone: in this private copy it says what the code is. */
function declareModule() {
  if (process.features.require_module || globalThis.Deno) return;
  const { manifest, json, type } = packageType();
  if (type !== undefined) return;
  const path = manifest ?? require('node:path').join(require('node:path').dirname(FILE), 'package.json');
  fs.writeFileSync(path, JSON.stringify({ ...json, type: 'module' }));
}

async function loadTypescript() {
  const esbuild = find('esbuild');
  if (process.features.typescript || globalThis.Deno) {
    quietExperiments();
    try {
      return await importDefault(FILE);
    } catch (error) {
      if (!esbuild || !isBeyondNode(error)) throw error;
    }
  }
  const path = require('node:path');
  standIn = path.join(path.dirname(FILE), `.${path.basename(FILE)}.mjs`);
  if (esbuild) return bundle(esbuild);
  if (Module.stripTypeScriptTypes) {
    quietExperiments();
    fs.writeFileSync(standIn, Module.stripTypeScriptTypes(fs.readFileSync(FILE, 'utf8')));
    return importDefault(standIn);
  }
  const deno = find('deno');
  if (deno) return runDeno(deno);
  throw new Error('TypeScript needs esbuild (apt-get install esbuild), Node.js 22.13 or newer, or Deno');
}

function find(program) {
  const isFile = (path) => fs.statSync(path, { throwIfNoEntry: false })?.isFile();
  return ['/usr/bin', '/usr/local/bin'].map((folder) => `${folder}/${program}`).find(isFile);
}

/** Tells whether Node refused what esbuild can do, before anything ran: enums, and imports without an extension. */
function isBeyondNode(error) {
  if (error?.code === 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX') return true;
  const isUnresolved = ['ERR_MODULE_NOT_FOUND', 'ERR_UNSUPPORTED_DIR_IMPORT'].includes(error?.code);
  return isUnresolved && !/\bimport\s*\(/.test(fs.readFileSync(FILE, 'utf8'));
}

/** Strips types of the file and of all that it imports; the source map keeps the user's own lines in tracebacks. */
async function bundle(esbuild) {
  const { spawnSync } = require('node:child_process');
  const done = spawnSync(
    esbuild,
    [
      FILE,
      `--outfile=${standIn}`,
      '--bundle',
      '--platform=node',
      '--format=esm',
      '--packages=external',
      '--sourcemap=inline',
      '--log-level=warning',
      '--color=false',
      // Bundled CommonJS modules still need `require` for Node's own.
      "--banner:js=import{createRequire as vulcanRequire}from'node:module';var require=vulcanRequire(import.meta.url);",
    ],
    { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' },
  );
  if (done.error) throw done.error;
  if (done.status !== 0) {
    const error = new SyntaxError(done.stderr.trim());
    error.stack = `SyntaxError: ${error.message}`;
    throw error;
  }
  process.setSourceMapsEnabled(true);
  return importDefault(standIn);
}

/** Gives everything to Deno: the same shim, the same descriptors. */
function runDeno(deno) {
  const { spawnSync } = require('node:child_process');
  const args = ['run', '--allow-all', '--quiet', '--no-config', '--no-lock', '--no-remote', SHIM];
  const done = spawnSync(deno, [...args, FILE, LANGUAGE, WORKLOAD, TIMEOUT_MS, ...ARGS], {
    stdio: [0, 1, 2, REPORT],
  });
  if (done.error) throw done.error;
  process.removeAllListeners('uncaughtExceptionMonitor');
  if (done.signal) process.kill(process.pid, done.signal);
  process.exit(done.status);
}

/** The user did not choose these features of Node; warnings of them are noise in the log. */
function quietExperiments() {
  const { emitWarning } = process;
  process.emitWarning = (warning, ...rest) => {
    const kind = rest[0]?.type ?? rest[0];
    if (kind !== 'ExperimentalWarning') emitWarning.call(process, warning, ...rest);
  };
}

/** Returns the JSON text, or the problem that there is none. */
function serialize(result) {
  let why;
  try {
    const json = JSON.stringify(result === undefined ? null : result);
    if (json !== undefined) return { json };
    why = `a ${typeof result} has no JSON form`;
  } catch (error) {
    why = String(error?.message ?? error).split('\n')[0];
  }
  return { problem: `the handler's result cannot be sent as JSON: ${why}` };
}

async function fail(error) {
  reportError(error);
  process.stderr.write(`${describe(error).stack ?? describe(error).message}\n`);
  await drained();
  process.exit(1);
}

/** Waits until all of the log is in its pipes, which an exit does not. */
async function drained() {
  // Asked like this, the streams are not made where nobody used them.
  if ((process._getActiveRequests?.() ?? []).length === 0) return;
  for (const stream of [process.stdout, process.stderr]) {
    if (stream.writableLength > 0) await new Promise((done) => stream.write('', done));
  }
}

function reportError(error) {
  const { message, stack } = describe(error);
  report('exception', message, stack);
}

function describe(error) {
  if (error === null || typeof error !== 'object' || typeof error.stack !== 'string') {
    return { message: `Uncaught ${require('node:util').inspect(error)}`, stack: null };
  }
  const stack = clean(locate(error));
  return { message: `${error.name}: ${error.message}${place(error, stack)}`, stack };
}

/** The loader of ES modules keeps the place of a syntax error to itself, so Node is asked again, as `node --check` would be. */
function locate(error) {
  const isKept = error.name === 'SyntaxError' && /node:internal\/modules\/esm/.test(error.stack);
  if (!isKept || LANGUAGE === 'typescript' || globalThis.Deno) return error.stack;
  const { stderr } = require('node:child_process').spawnSync(
    process.execPath,
    ['--check', '--input-type=module', '-'],
    { input: fs.readFileSync(FILE), stdio: ['pipe', 'ignore', 'pipe'], encoding: 'utf8' },
  );
  const found = /^(?:file:\/\/\S*)?\[?(?:stdin|eval1)\]?(:\d+\n[^]*?\n)\n/m.exec(stderr ?? '');
  return found ? `${FILE}${found[1]}\n${error.stack}` : error.stack;
}

/** Says where a syntax error is: its traceback begins with the place, its message does not have it. */
function place(error, stack) {
  const found = error.name === 'SyntaxError' && /^(\/\S+:\d+)\n/.exec(stack);
  return found ? ` (${require('node:path').basename(found[1])})` : '';
}

/** Leaves the user's own part of a traceback. */
function clean(stack) {
  return stack
    .split('\n')
    .filter((line) => !/^\s+at /.test(line) || !(line.includes(SHIM) || /[( ](node|ext):/.test(line)))
    .map((line) => line.replace('file:///', '/'))
    .map((line) => (standIn === null ? line : line.replace(standIn, FILE)))
    .join('\n');
}

function report(code, message, stack) {
  if (isReported) return;
  isReported = true;
  write(errorReport(code, message, stack));
}

function errorReport(code, message, stack) {
  const short = { code, message: message.slice(0, MESSAGE_CHARS), stack: stack?.slice(0, STACK_CHARS) ?? null };
  return 'E' + JSON.stringify(short);
}

function write(text) {
  // Deno does not give inherited descriptors to programs.
  descriptor ??= globalThis.Deno ? fs.openSync(`/proc/self/fd/${REPORT}`, 'w') : REPORT;
  send(descriptor, Buffer.from(text));
}

function send(to, bytes) {
  for (let start = 0; start < bytes.length; ) start += fs.writeSync(to, bytes, start);
}
