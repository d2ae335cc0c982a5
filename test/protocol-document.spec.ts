import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FRAME_TYPE, LIMITS, OUTER_STATUS, SIZE, SUITE } from '@sealwire/core';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const text = readFileSync(join(root, 'PROTOCOL.md'), 'utf8');
const headings = [...text.matchAll(/^#{2,4} ((?:\d+|[A-Z])(?:\.\d+)*) (.+)$/gm)].map(([, number]) => `${number}`);

/** The text of one section without those below another number. */
function section(number: string): string {
  const start = text.search(new RegExp(`^#{2,4} ${number.replaceAll('.', '\\.')} `, 'm'));
  const rest = text.slice(text.indexOf('\n', start) + 1);
  const end = rest.search(/^#{2,4} [\dA-Z]/m);
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

const NUMBER = '(?:\\d+|[A-H])(?:\\.\\d+)*';
const NUMBERS = new RegExp(`\\b(?:sections?|appendix|appendices)\\s+(${NUMBER}(?:(?:, | and | to )${NUMBER})*)`, 'g');

/** The sections and appendices that a file cites: in PROTOCOL.md all, in others those that follow its name. */
function citations(file: string, source: string): string[] {
  if (file === 'SECURITY.md') {
    const cells = source.matchAll(new RegExp(`\\((${NUMBER}(?:, ${NUMBER})*)\\)`, 'g'));
    return [...cells].flatMap(([, found = '']) => found.split(', '));
  }
  const named = file === 'PROTOCOL.md' ? [source] : source.split(/PROTOCOL\.md,?(?= (?:section|appendix))/).slice(1);
  return named.flatMap((part) => {
    const found = [...part.matchAll(NUMBERS)].filter(({ index }) => file === 'PROTOCOL.md' || index === 1);
    return found.flatMap(([, numbers = '']) => numbers.split(/, | and | to /));
  });
}

describe('PROTOCOL.md', () => {
  it('numbers its sections once each, in order', () => {
    expect(new Set(headings).size).toBe(headings.length);
    // appendices follow the sections
    const order = headings.map((number) =>
      number
        .split('.')
        .map((part) => (/\d/.test(part) ? part.padStart(2, '0') : part))
        .join('.'),
    );
    expect(order).toEqual([...order].sort());
    expect(headings.length).toBeGreaterThan(45);
  });

  it('has every section that is cited, in the code and in itself', () => {
    const tracked = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8' });
    const files = tracked.split('\n').filter((file) => /\.(ts|mjs|md|py)$/.test(file) && existsSync(join(root, file)));
    const cited = files.flatMap((file) => {
      // sections of other documents are named with theirs
      const own = readFileSync(join(root, file), 'utf8').replaceAll(/(RFC|FIPS) \d+,?\s+section\s+[\d.]*\d/g, '');
      return citations(file, own).map((number) => `${file}: ${number}`);
    });
    expect(cited.length).toBeGreaterThan(120);
    expect(cited.filter((citation) => !headings.includes(citation.split(': ')[1] ?? ''))).toEqual([]);
  });

  it('has the sizes of the code', () => {
    expect(table('A.1')).toEqual(numbers(SIZE));
  });

  it('has the limits of the code', () => {
    expect(table('B.1')).toEqual(numbers(LIMITS));
  });

  it('has the unsealed answers of the code and their status', () => {
    expect(table('B.2')).toEqual(numbers(OUTER_STATUS));
  });

  it('has the sealed statuses of the code', () => {
    const source = readFileSync(join(root, 'libs/core/src/errors.ts'), 'utf8');
    const union = /type SealedStatus =([^;]+);/.exec(source)?.[1] ?? '';
    const statuses = [...union.matchAll(/'(\w+)'/g)].map(([, status]) => status);
    expect(Object.keys(table('6.3.1')).sort()).toEqual([...statuses].sort());
    for (const status of statuses) expect(section('7.2')).toContain(`\`${status}\``);
    expect(statuses.length).toBe(8);
  });

  it('has the suite and the frame types of the code', () => {
    expect(section('3.1')).toContain(`"${SUITE}"`);
    const types = Object.values(FRAME_TYPE).map((type) => type.toString(16).padStart(2, '0'));
    const named = [...section('1.4').matchAll(/`(\d\d)` \w/g)].map(([, type]) => type);
    expect(named.sort()).toEqual(types.sort());
  });

  it('opens with an overview, tells authors of clients all in 450 lines, and ends with security, versions and vectors', () => {
    const overview = text.slice(text.indexOf('## Overview'), text.indexOf('\n## 1 '));
    for (const part of ['step 1', 'step 4', 'call', 'result', 'waiting', 'doubtful', 'tombstone']) {
      expect(overview).toContain(part);
    }
    expect(overview.split('\n').length).toBeLessThan(75);
    const client = text.slice(text.indexOf('\n## 1 '), text.search(/\n## (8|A) /));
    expect(client.split('\n').length).toBeLessThanOrEqual(450);
    const appendices = [...text.matchAll(/^## ([A-Z] .+)$/gm)].map(([, title]) => title);
    expect(appendices).toEqual([
      'A Sizes and values',
      'B Limits and codes',
      'C Worked example',
      'D Plain calls',
      'E Servers',
      'F Security considerations',
      'G Version policy',
      'H Vectors',
    ]);
  });

  it('lists every file of vectors with the sections that it is of', () => {
    const listed = [...section('H').matchAll(/^\| `([\w-]+\.json)` \| .+ \| (.+) \|$/gm)];
    const files = readdirSync(join(root, 'test/vectors')).filter((name) => name.endsWith('.json'));
    expect(listed.map(([, name]) => name).sort()).toEqual(files.sort());
    for (const [, name, sections = ''] of listed) {
      for (const number of sections.split(', ')) expect(headings, name).toContain(number);
    }
  });

  it("draws every state of the client's table", () => {
    const table = readFileSync(join(root, 'libs/client/src/delivery/table.ts'), 'utf8');
    const union = /type State =([\s\S]+?'done');/.exec(table)?.[1] ?? '';
    const states = [...union.matchAll(/'(\w+)'/g)].map(([, state]) => state);
    expect(states.length).toBeGreaterThan(6);
    for (const state of states) expect(text.slice(0, text.indexOf('\n## 1 '))).toMatch(new RegExp(`\\b${state}\\b`));
  });

  it('tells in its example what the vectors have', () => {
    const read = (name: string) => JSON.parse(readFileSync(join(root, `test/vectors/${name}.json`), 'utf8'));
    const handshake = read('handshake-pinned-securekey-32');
    const example = section('C');
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
