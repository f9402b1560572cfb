// Finds out that nothing will ever happen any more, where Deno itself does not: while a module waits in its top level.
//
// Without permissions a program waits for timers or for work on another thread, and for nothing else. Where there is no timer
// and no processor time is used for a while, its wait is in vain.

const EVERY_MS = 100;
/** How many looks in a row find nothing; more than a thread without a processor waits for one. */
const LOOKS = 5;
/** What looking itself may take, in microseconds of processor time. */
const OWN_MICROS = 5_000;

const every = setInterval;
const stop = clearInterval;
const activeResources = process.getActiveResourcesInfo.bind(process);
const cpuUsage = process.cpuUsage.bind(process);

/** Calls `whenSilent` once when nothing has happened for half a second. Returns what ends the watch. */
export function watchForSilence(whenSilent: () => void): () => void {
  let silent = 0;
  let before = used();
  const timer = every(() => {
    const now = used();
    silent = activeResources().length === 0 && now - before < OWN_MICROS ? silent + 1 : 0;
    before = now;
    if (silent < LOOKS) return;
    stop(timer);
    whenSilent();
  }, EVERY_MS);
  // The watch itself is nothing to wait for.
  (timer as unknown as { unref?: () => void }).unref?.();
  if (typeof timer === 'number') Deno.unrefTimer(timer);
  return () => stop(timer);
}

function used(): number {
  const { user, system } = cpuUsage();
  return user + system;
}
