// What is told of a failure: the user's own part of it.

import { includes, inspect, replace, slice, split, startsWith } from './primordials.ts';
import { diagnose, type Program } from './program.ts';

const MESSAGE_CHARS = 8 * 1024;
const STACK_CHARS = 64 * 1024;
const HOST = new URL('.', import.meta.url).href;
const ErrorAtStart = Error;

/** A failure as the protocol has it. */
export interface Failure {
  code: string;
  message: string;
  stack: string | null;
}

/** The event loop ran dry. */
export class Stuck extends Error {}

/** Describes whatever was thrown. */
export async function describe(thrown: unknown, program: Program | null): Promise<Failure> {
  const { name, message, stack } = parts(thrown);
  const refusal = program === null ? null : refusalIn(message, program);
  if (refusal !== null) return { code: 'exception', message: slice(`Error: ${refusal}`, 0, MESSAGE_CHARS), stack: null };
  if (program?.unparsable && (name === 'SyntaxError' || includes(message, 'SyntaxError'))) {
    const found = await diagnose(program.unparsable);
    if (found !== null) return failure(found, found);
  }
  if (stack === null) return failure(`Uncaught ${message}`, null);
  return failure(`${name}: ${message}`, stack);
}

/** Finds the refused import that an error is about; Deno wraps it in words of its own. */
function refusalIn(message: string, program: Program): string | null {
  for (let i = 0; i < program.refusals.length; i++) {
    if (includes(message, program.refusals[i])) return program.refusals[i];
  }
  return null;
}

function failure(message: string, stack: string | null): Failure {
  return {
    code: 'exception',
    message: slice(local(message), 0, MESSAGE_CHARS),
    stack: stack === null ? null : slice(clean(stack), 0, STACK_CHARS),
  };
}

/** Reads an error that may be anything, getters that throw included. */
function parts(thrown: unknown): { name: string; message: string; stack: string | null } {
  try {
    if (thrown instanceof ErrorAtStart && typeof thrown.stack === 'string') {
      return { name: `${thrown.name}`, message: `${thrown.message}`, stack: `${thrown.stack}` };
    }
    return { name: '', message: inspect(thrown), stack: null };
  } catch {
    return { name: '', message: 'something that cannot be shown', stack: null };
  }
}

/** Leaves the user's own part of a traceback. */
function clean(stack: string): string {
  const lines = split(local(stack), '\n');
  let text = '';
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i];
    const isFrame = /^\s+at /.test(line);
    if (isFrame && (includes(line, HOST) || includes(line, local(HOST)) || /[( ](node|ext):/.test(line))) continue;
    text += i === 0 ? line : `\n${line}`;
  }
  return text;
}

/** Names files as the user knows them, and says what isolates do not have. */
function local(text: string): string {
  const permission = /,? run again with the --allow-net flag/g;
  const other = /,? run again with the --allow-\w+ flag/g;
  let told = replace(text, /file:\/\/\/work\/([^\s?]*)\?\d+/g, '/work/$1');
  told = replace(told, /file:\/\/\//g, '/');
  told = replace(told, permission, ': the network is closed (network: "none")');
  return replace(told, other, ': isolates have no permissions (isolation "sandbox" has files and processes)');
}

/** Returns the text for standard error. */
export function printable(failure: Failure): string {
  return `${failure.stack !== null && !startsWith(failure.stack, ' ') ? failure.stack : failure.message}\n`;
}
