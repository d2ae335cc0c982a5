import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FRAME_TYPE, LIMITS, OUTER_STATUS, SIZE, SUITE } from '@sealwire/core';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const text = readFileSync(join(root, 'PROTOCOL.md'), 'utf8');
const headings = [...text.matchAll(/^#{2,3} (\d+(?:\.\d+)?) (.+)$/gm)].map(([, number]) => `${number}`);

/** The text of one section without those below another number. */
function section(number: string): string {
  const start = text.search(new RegExp(`^#{2,3} ${number.replace('.', '\\.')} `, 'm'));
  const rest = text.slice(text.indexOf('\n', start) + 1);
  const end = rest.search(/^#{2,3} \d/m);
  return end < 0 ? rest : rest.slice(0, end);
}

/** First two columns of a section's table whose first column is code. */
function table(number: string): Record<string, string> {
  return Object.fromEntries(
    [...section(number).matchAll(/^\| `([\w]+)` \| (.*?) \|/gm)].map(([, name, value]) => [name, value]),
  );
}

function numbers(constants: Record<string, number>): Record<string, string> {
  return Object.fromEntries(Object.entries(constants).map(([name, value]) => [name, String(value)]));
}

describe('PROTOCOL.md', () => {
  it('numbers its sections once each, in order', () => {
    expect(new Set(headings).size).toBe(headings.length);
    const order = headings.map((number) => number.split('.').map(Number)).map(([a = 0, b = 0]) => a * 100 + b);
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(headings.length).toBeGreaterThan(30);
  });

  it('has every section that is cited, in the code and in itself', () => {
    const tracked = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8' });
    const files = tracked.split('\n').filter((file) => /\.(ts|mjs|md|py)$/.test(file) && existsSync(join(root, file)));
    const cited = files.flatMap((file) => {
      const source = readFileSync(join(root, file), 'utf8');
      const pattern =
        file === 'PROTOCOL.md' ? /\bsection (\d+(?:\.\d+)*)/g : /PROTOCOL\.md,? sections? ([\d. and]*\d)/g;
      // sections of other documents are named with theirs
      const own = source.replaceAll(/(RFC|FIPS) \d+,?\s+section\s+[\d.]*\d/g, '');
      return [...own.matchAll(pattern)].flatMap(([, found = '']) =>
        found.split(/ and | /).map((number) => `${file}: ${number}`),
      );
    });
    expect(cited.length).toBeGreaterThan(40);
    expect(cited.filter((citation) => !headings.includes(citation.split(': ')[1] ?? ''))).toEqual([]);
  });

  it('has the sizes of the code', () => {
    expect(table('1.3')).toEqual(numbers(SIZE));
  });

  it('has the limits of the code', () => {
    expect(table('8')).toEqual(numbers(LIMITS));
  });

  it('has the unsealed answers of the code and their status', () => {
    expect(table('7.1')).toEqual(numbers(OUTER_STATUS));
  });

  it('has the sealed statuses of the code', () => {
    const source = readFileSync(join(root, 'libs/core/src/errors.ts'), 'utf8');
    const union = /type SealedStatus =([^;]+);/.exec(source)?.[1] ?? '';
    const statuses = [...union.matchAll(/'(\w+)'/g)].map(([, status]) => status);
    expect(Object.keys(table('7.2')).sort()).toEqual(statuses.sort());
    expect(statuses.length).toBe(8);
  });

  it('has the suite and the frame types of the code', () => {
    expect(section('3.1')).toContain(`"${SUITE}"`);
    const types = Object.values(FRAME_TYPE).map((type) => type.toString(16).padStart(2, '0'));
    expect(Object.keys(table('1.4')).sort()).toEqual(types.sort());
  });

  it('tells in its example what the vectors have', () => {
    const read = (name: string) => JSON.parse(readFileSync(join(root, `test/vectors/${name}.json`), 'utf8'));
    const handshake = read('handshake-pinned-securekey-32');
    const example = section('10');
    const rows = [...example.matchAll(/^\| 3\.\d \| (?:\w+: )?(.+) \| `(\w+)` \| `(\w+)` \| (?:`(\w+)` )?\|$/gm)];
    const operations = ['prologue', 'step1', 'step2', 'step3', 'step4'].flatMap((step) => handshake[step].operations);
    expect(rows.slice(1).map(([, ...cells]) => cells)).toEqual(
      operations.map(({ what, h, ck, k }) => [what, h.slice(0, 16), ck.slice(0, 16), k ? k.slice(0, 16) : undefined]),
    );
    const joined = example.replaceAll(/\n +/g, '');
    const { call, result } = read('messages')['handshake-pinned-securekey-32'];
    const { firstResult, step3, step4, sessionId } = handshake;
    const values = [
      ...Object.values(handshake.secrets),
      ...[sessionId, step3.firstKey, step3.firstResults, firstResult.callHeader, firstResult.key, firstResult.frame],
      ...[step4.firstAnswers, call.header, call.key, call.nonce, call.plaintext, call.frame],
      ...[result.header, result.key, result.plaintext, result.frame],
    ];
    expect(values.length).toBe(19);
    for (const value of values) {
      expect(joined).toContain(value);
    }
  });
});
