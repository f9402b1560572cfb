// The conformance suite's acts that a program without files and processes can perform: a script, its act in the arguments.
const [name, ...args] = Deno.args;
const say = (value) => console.log(JSON.stringify(value));
const raw = (stream, bytes) => Deno[stream].writeSync(bytes);
const ready = () => console.log('ready');
const forever = () => setInterval(() => {}, 1_000_000);
const MIB = 1024 * 1024;

const acts = {
  exit: (code) => process.exit(Number(code)),
  print_ordered(lines) {
    for (let line = 0; line < lines; line++) {
      console.log(`line ${line}`);
      console.error(`line ${line}`);
    }
  },
  flood(count, stream) {
    const bytes = Uint8Array.from({ length: Number(count) }, (_, i) => i % 251);
    for (let at = 0; at < bytes.length; at += 65_536) raw(stream, bytes.subarray(at, at + 65_536));
  },
  print_raw: (hex, stream) => raw(stream, Uint8Array.fromHex(hex)),
  endless_lines() {
    ready();
    for (let line = 0; ; line++) console.log(`line ${line}`.padEnd(1000, '.'));
  },
  endless_line() {
    ready();
    for (const bytes = new Uint8Array(65_536).fill(120); ;) raw('stdout', bytes);
  },
  async copy_input() {
    for await (const bytes of Deno.stdin.readable) raw('stdout', bytes);
  },
  print_nested: (depth) => raw('stdout', new TextEncoder().encode('['.repeat(depth) + ']'.repeat(depth))),
  sleep() {
    ready();
    forever();
  },
  sleep_for: (millis) => new Promise((done) => setTimeout(done, Number(millis))),
  spin_ignoring_sigterm() {
    ready();
    for (;;);
  },
  spin_for(millis) {
    const used = () => process.cpuUsage().user / 1000;
    for (const begun = used(); used() - begun < millis;);
  },
  allocate_heap(mib) {
    const kept = [];
    for (let i = 0; i < mib * 16; i++) kept.push(Array.from({ length: 8192 }, (_, n) => n * 1.5));
    say(kept.length / 16);
  },
  allocate_at_once(mib) {
    new Uint8Array(mib * MIB).fill(1);
    say(Number(mib));
  },
  kill_everything() {
    for (let pid = 1; pid < 1000; pid++) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Nobody there, or not to be killed.
      }
    }
  },
  print_args: (...texts) => say(texts),
  print_env: () => say(process.env),
};

await acts[name](...args);
