import { SealwireError } from './errors.js';

/**
 * Refuses an option that nothing reads. A mistyped option would silently leave out what it was meant to protect.
 *
 * @param options the object that the application gave
 * @param known the names that exist
 * @param what the function whose options they are, as in `createRemote`
 * @throws SealwireError `bad_configuration` that names the option and the one that was probably meant
 * @example
 * unknownOption({ secureKeys: '...' }, ['url', 'secureKey'], 'createRemote');
 * // throws: createRemote: unknown option `secureKeys`; did you mean `secureKey`?
 */
export function unknownOption(options: object, known: readonly string[], what: string): void {
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const near = nearest(name, known);
    const hint = near === undefined ? `; it takes ${known.join(', ')}.` : `; did you mean \`${near}\`?`;
    throw new SealwireError('bad_configuration', `${what}: unknown option \`${name}\`${hint}`);
  }
}

function nearest(name: string, known: readonly string[]): string | undefined {
  const ranked = known.map((other) => ({ other, steps: distance(name.toLowerCase(), other.toLowerCase()) }));
  const [best] = ranked.sort((a, b) => a.steps - b.steps);
  return best && best.steps <= Math.max(2, name.length / 3) ? best.other : undefined;
}

/** Levenshtein distance: how many characters to insert, delete or replace. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
