import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '..');
const text = readFileSync(join(root, 'SECURITY.md'), 'utf8');
const rows = text
  .slice(text.indexOf('## Attack, defence, test'))
  .split('\n')
  .filter((line) => line.startsWith('| ') && !line.startsWith('| attack'));

describe('SECURITY.md', () => {
  it('has a defence and a test for every attack', () => {
    expect(rows.length).toBeGreaterThan(20);
    const test = '`[\\w/.-]+\\.spec\\.ts`: "[^"]+"';
    for (const row of rows) expect(row).toMatch(new RegExp(`^\\| [^|]+ \\| [^|]+ \\| ${test}(; ${test})* \\|$`));
  });

  it.each(rows.map((row) => [row.split(' | ')[0]?.slice(2) ?? '', row]))('names tests that are there: %s', (_, row) => {
    for (const [, file = '', names = ''] of row.matchAll(/`([\w/.-]+\.spec\.ts)`((?:: "[^"]+")?)/g)) {
      const source = readFileSync(join(root, file), 'utf8');
      for (const [, name = ''] of names.matchAll(/"([^"]+)"/g)) expect(source).toContain(name);
    }
  });
});
