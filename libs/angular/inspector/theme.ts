/** Colours and type of all views; each may be set from outside as `--sealwire-...`. */
export const THEME = `
:host {
  color-scheme: light dark;
  scrollbar-color: var(--muted) transparent;
  --bg: var(--sealwire-bg, light-dark(#ffffff, #0f1217));
  --surface: var(--sealwire-surface, light-dark(#f6f7f9, #161b22));
  --line: var(--sealwire-line, light-dark(#dfe3ea, #29313c));
  --text: var(--sealwire-text, light-dark(#161a22, #e6eaf0));
  --muted: var(--sealwire-muted, light-dark(#586274, #9ba7b7));
  --app: var(--sealwire-app, light-dark(#0b7a4b, #5fd49b));
  --app-soft: var(--sealwire-app-soft, light-dark(#eaf6f0, #11251c));
  --wire: var(--sealwire-wire, light-dark(#a8430a, #ffab70));
  --wire-soft: var(--sealwire-wire-soft, light-dark(#fdf3ea, #2a1d12));
  --danger: var(--sealwire-danger, light-dark(#b3261e, #ff8a80));
  --focus: var(--sealwire-focus, light-dark(#1a5fd0, #8ab8ff));
  --mono: var(--sealwire-mono, ui-monospace, "SF Mono", "Cascadia Code", Menlo, Consolas, monospace);
  --sans: var(--sealwire-font, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif);
  --c-head: #8a919e;
  --c-epoch: #56b4e9;
  --c-session: #0072b2;
  --c-number: #e69f00;
  --c-salt: #009e73;
  --c-key: #d8c400;
  --c-cookie: #7b61c9;
  --c-sealed: #d55e00;
  --c-tag: #cc79a7;
  display: block;
  color: var(--text);
  font: 14px/1.5 var(--sans);
}
:host-context([data-theme="light"]) { color-scheme: light; }
:host-context([data-theme="dark"]) { color-scheme: dark; }
*, *::before, *::after { box-sizing: border-box; }
code, .mono { font-family: var(--mono); font-size: 12.5px; line-height: 1.55; }
.muted { color: var(--muted); }
button {
  font: inherit; color: inherit; background: none; border: 1px solid var(--line); border-radius: 8px; padding: 4px 12px; cursor: pointer;
}
button:hover { border-color: var(--muted); }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; border-radius: 6px; }
.c-head { --hue: var(--c-head); } .c-epoch { --hue: var(--c-epoch); } .c-session { --hue: var(--c-session); }
.c-number { --hue: var(--c-number); } .c-salt { --hue: var(--c-salt); } .c-key { --hue: var(--c-key); }
.c-cookie { --hue: var(--c-cookie); } .c-sealed { --hue: var(--c-sealed); } .c-tag { --hue: var(--c-tag); }
@media (forced-colors: active) {
  [aria-selected="true"] { outline: 2px solid Highlight; outline-offset: -2px; }
  .swatch, .part, .legend i, .dot, .pieces span, .side { forced-color-adjust: none; }
  .side { color: CanvasText; background: Canvas !important; }
}
.swatch { display: inline-block; width: 10px; height: 10px; border-radius: 3px; background: var(--hue); flex: none; }
`;

/** The colour of a field, by its name. */
export function colourOf(name: string): string {
  return `c-${COLOURS[name] ?? 'head'}`;
}

const COLOURS: Readonly<Record<string, string>> = {
  epoch: 'epoch',
  'session id': 'session',
  'server key id': 'session',
  'SecureKey id': 'session',
  lane: 'number',
  counter: 'number',
  salt: 'salt',
  'client ephemeral key': 'key',
  'server ephemeral key': 'key',
  'second ephemeral key': 'key',
  'encapsulation key': 'key',
  'KEM ciphertext': 'key',
  cookie: 'cookie',
  'cookie size': 'cookie',
  'chunk head': 'number',
  chunk: 'sealed',
  'last chunk': 'sealed',
  'further chunks': 'sealed',
  sealed: 'sealed',
  cut: 'sealed',
  tag: 'tag',
};

/** What a field is for, in a few words. */
export const MEANINGS: Readonly<Record<string, string>> = {
  version: 'of the protocol',
  reserved: 'always zero',
  epoch: 'which keys of the session',
  'session id': 'names the session, says nothing',
  'server key id': 'which pinned key',
  'SecureKey id': 'which SecureKey, not the key',
  'key size': 'of AES, in bytes',
  lane: 'counters of one server',
  counter: 'of this message, never used twice',
  salt: 'makes the key of this message its own',
  'client ephemeral key': 'e_c, X25519, public',
  'server ephemeral key': 'e_s, X25519, public',
  'second ephemeral key': 'e_f, X25519, public',
  'encapsulation key': 'ek_c, ML-KEM-768, public',
  'KEM ciphertext': 'closes a secret for ek_c',
  'cookie size': 'bytes',
  cookie: "the server's state, sealed for itself",
  'chunk head': 'length of the chunk',
  chunk: 'ciphertext and its tag',
  'last chunk': 'ciphertext and its tag, the end',
  'further chunks': 'ciphertext',
  sealed: 'ciphertext',
  tag: 'one altered bit, and nothing opens',
};

/** The first bytes in hexadecimal, at most as many as given. */
export function hex(all: Uint8Array, most: number): string {
  const shown = [...all.subarray(0, most)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return all.length > most ? `${shown} …` : shown;
}

/** `152 B`, `1,360 B`, `48.0 MB`. */
export function bytes(n: number): string {
  if (n < 10_000) return `${n.toLocaleString('en')} B`;
  return n < 1_000_000 ? `${(n / 1000).toFixed(1)} KB` : `${(n / 1_000_000).toFixed(1)} MB`;
}

/** `4 ms`, `1.3 s`. */
export function time(ms: number): string {
  if (ms > 0 && ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** `1 item`, `60 items`. */
export function items(n: number): string {
  return `${n} ${n === 1 ? 'item' : 'items'}`;
}

/** `12:04:33.120` */
export function clock(at: number): string {
  const date = new Date(at);
  const part = (n: number, digits = 2): string => `${n}`.padStart(digits, '0');
  const whole = `${part(date.getHours())}:${part(date.getMinutes())}:${part(date.getSeconds())}`;
  return `${whole}.${part(date.getMilliseconds(), 3)}`;
}
