// The user's program: its files in memory, and the hooks through which Deno finds them. Nothing of it is ever on a disk.

import { isBuiltin, registerHooks, stripTypeScriptTypes } from 'node:module';
import { unpack } from './archive.ts';
import { decode, encode, endsWith, includes, mapGet, mapHas, parseJson, slice, startsWith, stringify } from './primordials.ts';

/** Where programs see themselves; `file:` so that names and lines in tracebacks are the user's own. */
const WORK = 'file:///work/';
/** What is tried for an import, in this order. */
const ENDINGS = ['', '.js', '.mjs', '.ts', '.mts', '.json', '.cjs', '/index.js', '/index.mjs', '/index.ts'];
/** Modules of Node that would write past the log. */
const CLOSED_BUILTINS = ['node:worker_threads', 'node:cluster', 'node:inspector', 'node:repl'];
/** How many of the last refused imports are remembered. */
const REFUSALS_MAX = 64;
const HOST = new URL('.', import.meta.url).href;
const Url = URL;
const unescape = decodeURIComponent;

/** Says why something cannot be imported. */
export class ImportRefused extends Error {}

/** TypeScript that does not parse; where, only a second look tells. */
interface Unparsable {
  url: string;
  source: string;
}

export class Program {
  /** The module to import. */
  readonly url: string;
  /** The first source that could not be read as TypeScript. */
  unparsable: Unparsable | null = null;
  /** Why imports were refused; Deno passes on the words only. */
  readonly refusals: string[] = [];
  #refusalsSeen = 0;
  readonly #files: Map<string, Uint8Array>;
  readonly #suffix: string;
  readonly #entrypoint: string;
  readonly #isTypescript: boolean;

  constructor(files: Map<string, Uint8Array>, entrypoint: string, language: string, generation: number) {
    this.#files = files;
    this.#entrypoint = entrypoint;
    this.#isTypescript = language === 'typescript';
    this.#suffix = generation === 0 ? '' : `?${generation}`;
    this.url = WORK + encodeURI(entrypoint) + this.#suffix;
  }

  /** Makes a program of what came over the channel. */
  static async of(
    code: Uint8Array,
    form: string,
    entrypoint: string,
    language: string,
    generation: number,
  ): Promise<Program> {
    const files = form === 'archive' ? await unpack(code) : new Map([[entrypoint, code]]);
    return new Program(files, entrypoint, language, generation);
  }

  has(path: string): boolean {
    return mapHas(this.#files, path);
  }

  /** Returns the URL of an import; throws where it leads out of the program. */
  resolve(specifier: string, parent: string): string {
    if (startsWith(specifier, 'node:') || isBuiltin(specifier)) return this.#builtin(specifier);
    const isPath = startsWith(specifier, '.') || startsWith(specifier, '/') || startsWith(specifier, 'file:');
    if (!isPath) throw this.#refused(whyNot(specifier), specifier, parent);
    const url = new Url(specifier, parent);
    if (startsWith(url.href, WORK)) {
      const path = this.#find(pathOf(url.href));
      if (path !== null) return WORK + encodeURI(path) + (url.search || this.#suffix);
    }
    throw this.#refused(`there is no such file in the program`, specifier, parent);
  }

  /** Returns what is at a URL that was resolved. */
  load(url: string): { source: string; format: string } {
    const path = pathOf(url);
    const bytes = mapGet(this.#files, path) as Uint8Array | undefined;
    if (bytes === undefined) throw this.#refused('there is no such file in the program', path, this.url);
    const source = decode(bytes);
    if (endsWith(path, '.json')) return { source, format: 'json' };
    if (isTypescript(path) || (this.#isTypescript && path === this.#entrypoint && !endsWith(path, '.js'))) {
      return { source: this.#strip(source, url), format: 'module' };
    }
    const isCommon = endsWith(path, '.cjs') || (!endsWith(path, '.mjs') && isCommonJs(source));
    return { source: isCommon ? wrapped(source) : source, format: 'module' };
  }

  #builtin(specifier: string): string {
    const name = startsWith(specifier, 'node:') ? specifier : `node:${specifier}`;
    for (let i = 0; i < CLOSED_BUILTINS.length; i++) {
      if (name === CLOSED_BUILTINS[i]) {
        throw this.#refused(`isolates do not offer it; isolation "sandbox" has threads and processes`, name, this.url);
      }
    }
    return name;
  }

  #find(path: string): string | null {
    for (let i = 0; i < ENDINGS.length; i++) {
      const candidate = path + ENDINGS[i];
      if (this.has(candidate)) return candidate;
    }
    // TypeScript's own habit: an import of './b.js' means './b.ts'.
    const typed = endsWith(path, 'js') ? `${slice(path, 0, -2)}ts` : path;
    return this.has(typed) ? typed : null;
  }

  #strip(source: string, url: string): string {
    try {
      return stripTypes(source, url);
    } catch (error) {
      this.unparsable ??= { url, source };
      throw error;
    }
  }

  #refused(why: string, specifier: string, parent: string): ImportRefused {
    const from = startsWith(parent, WORK) ? ` (imported from ${pathOf(parent)})` : '';
    const message = `'${specifier}' cannot be imported: ${why}${from}`;
    this.refusals[this.#refusalsSeen++ % REFUSALS_MAX] = message;
    return new ImportRefused(message);
  }
}

let current: Program | null = null;

/** Makes this program the one whose modules are found. */
export function activate(program: Program | null): void {
  current = program;
}

/** Puts the program between Deno and every import. Once. */
export function hook(): void {
  registerHooks({
    resolve(specifier, context, next) {
      const parent = context.parentURL ?? '';
      const isHosts = startsWith(parent, HOST);
      if (current === null || (isHosts && !startsWith(specifier, WORK))) return next(specifier, context);
      if (isHosts) return { url: specifier, shortCircuit: true };
      const url = current.resolve(specifier, parent);
      return startsWith(url, 'node:') ? next(url, context) : { url, shortCircuit: true };
    },
    load(url, context, next) {
      if (current === null || !startsWith(url, WORK)) return next(url, context);
      return { ...current.load(url), shortCircuit: true };
    },
  } as Parameters<typeof registerHooks>[0]);
}

/** Finds where TypeScript does not parse, which the stripper keeps to itself; null when it parses after all. */
export async function diagnose(unparsable: Unparsable): Promise<string | null> {
  const blob = Url.createObjectURL(new Blob([unparsable.source], { type: 'application/typescript' }));
  const before = current;
  current = null;
  try {
    await import(blob);
    return null;
  } catch (error) {
    const message = (error as Error).message;
    return message.replaceAll(blob, unparsable.url);
  } finally {
    current = before;
  }
}

/** Removes types so that every line and column stays; what cannot just be removed, enums for example, is rewritten. */
export function stripTypes(source: string, url: string): string {
  try {
    return stripTypeScriptTypes(source, { mode: 'strip' });
  } catch (error) {
    if (!includes((error as Error).message, 'not supported in strip-only mode')) throw error;
    const rewritten = stripTypeScriptTypes(source, { mode: 'transform', sourceMap: true });
    return named(rewritten, url);
  }
}

/** Puts the file's own name into the source map, which has a name that stands for every file. */
function named(source: string, url: string): string {
  const mark = '//# sourceMappingURL=data:application/json;base64,';
  const at = source.lastIndexOf(mark);
  if (at < 0) return source;
  const map = parseJson(atob(source.slice(at + mark.length).trim())) as { sources: string[]; sourcesContent?: string[] };
  map.sources = [url];
  delete map.sourcesContent;
  return source.slice(0, at) + mark + btoa(stringify(map)!);
}

function isTypescript(path: string): boolean {
  return endsWith(path, '.ts') || endsWith(path, '.mts');
}

/** Returns the path in the program of one of its URLs. */
function pathOf(url: string): string {
  let end = url.length;
  for (let i = 0; i < end; i++) {
    if (url[i] === '?' || url[i] === '#') end = i;
  }
  return unescape(slice(url, WORK.length, end));
}

function isCommonJs(source: string): boolean {
  return /\bmodule\s*\.\s*exports\b|\bexports\s*\.\s*\w+\s*=|\brequire\s*\(/.test(source) &&
    !/^\s*(import\b[^(.]|export\b)/m.test(source);
}

/** Makes a module of CommonJS code; all on its first line, so that the others keep their numbers. */
function wrapped(source: string): string {
  const head = `const module={exports:{}},exports=module.exports,require=(name)=>{` +
    `const found=process.getBuiltinModule(name);if(found)return found;` +
    `throw new Error("'"+name+"' cannot be required: isolates have modules of Node only; use import for files")};`;
  return `${head}${source}\n;export default module.exports?.default??module.exports;`;
}

function whyNot(specifier: string): string {
  const network = 'the network is closed; put the code into the archive';
  if (startsWith(specifier, 'npm:')) return `${network}, bundled for example`;
  if (startsWith(specifier, 'jsr:') || startsWith(specifier, 'http:') || startsWith(specifier, 'https:')) return network;
  if (startsWith(specifier, 'data:') || startsWith(specifier, 'blob:')) {
    return 'code comes as files of the program';
  }
  return 'packages are not installed here; put the code into the archive and import it by a relative path';
}

/** Pays ahead for what the first program needs. */
export async function warmUp(): Promise<void> {
  const files = new Map([
    ['warm.js', encode('import { b } from "./b.js"; export default async (i) => ({ i, b });')],
    ['b.js', encode('export const b = 1;')],
    ['warm.ts', encode('interface I { a: number }\nexport default (i: I): number => i.a;\n')],
  ]);
  for (const entrypoint of ['warm.js', 'warm.ts']) {
    const program = new Program(files, entrypoint, 'node', -1);
    activate(program);
    const { default: handler } = await import(program.url);
    await handler({ a: 1 });
  }
  activate(null);
}
