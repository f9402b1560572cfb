// Runs a handler or a script of JavaScript or TypeScript, on Node.js or Deno.
//
// argv: the interpreter, this file, the program's file, its language, the workload's id, its timeout in milliseconds, the
// program's arguments. Descriptor 3 takes the report: H when a handler is called, R and its result, or E and an error.
'use strict';

const fs = require('node:fs');
const Module = require('node:module');

const BEGUN = performance.now();
const REPORT = 3;
const MESSAGE_CHARS = 8 * 1024;
const STACK_CHARS = 64 * 1024;
const SHIM = __filename;
const [FILE, LANGUAGE, WORKLOAD, TIMEOUT_MS, ...ARGS] = process.argv.slice(2);
process.argv.splice(1, Infinity, FILE, ...ARGS);

let isPending = false;
let isReported = false;
let descriptor = null;
/** The generated file that runs in place of the user's, and shall not be seen in tracebacks. */
let standIn = null;

// Node prints the error itself and ends with exit code 1; this only reports it.
process.on('uncaughtExceptionMonitor', (error) => {
  if (process.listenerCount('uncaughtException') === 0) reportError(error);
});
process.on('beforeExit', () => {
  if (isPending) {
    isPending = false;
    fail(new Error('the handler waits for something that never happens'));
  }
});

run().catch(fail);

async function run() {
  const handler = await load();
  if (typeof handler !== 'function') return;
  write('H');
  const text = fs.readFileSync(0, 'utf8').trim();
  const input = text === '' ? null : JSON.parse(text);
  isPending = true;
  const result = await handler(input, context());
  isPending = false;
  const json = serialize(result);
  if (json === null) return;
  write('R' + json);
  // What the handler left behind is not waited for.
  process.exit();
}

/**
 * What a handler gets as its second argument.
 * workloadId: the id of this workload. timeoutMs: how long it may take in all. remainingMs(): how much of that is left.
 */
function context() {
  const timeoutMs = Number(TIMEOUT_MS);
  return {
    workloadId: WORKLOAD,
    timeoutMs,
    remainingMs: () => Math.max(0, Math.floor(timeoutMs - (performance.now() - BEGUN))),
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

/** Returns the JSON text, or null after having reported why there is none. */
function serialize(result) {
  let why;
  try {
    const json = JSON.stringify(result === undefined ? null : result);
    if (json !== undefined) return json;
    why = `a ${typeof result} has no JSON form`;
  } catch (error) {
    why = String(error?.message ?? error).split('\n')[0];
  }
  const message = `the handler's result cannot be sent as JSON: ${why}`;
  report('output_invalid', message, null);
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

function fail(error) {
  reportError(error);
  process.stderr.write(`${describe(error).stack ?? describe(error).message}\n`);
  process.exit(1);
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
  write('E' + JSON.stringify({ code, message: message.slice(0, MESSAGE_CHARS), stack: stack?.slice(0, STACK_CHARS) ?? null }));
}

function write(text) {
  // Deno does not give inherited descriptors to programs.
  descriptor ??= globalThis.Deno ? fs.openSync(`/proc/self/fd/${REPORT}`, 'w') : REPORT;
  const bytes = Buffer.from(text);
  for (let start = 0; start < bytes.length; ) start += fs.writeSync(descriptor, bytes, start);
}
