import { describe, expect, it } from 'vitest';
import { GroupCommit } from '../src/numbers/index.js';

function gated() {
  const groups: number[][] = [];
  const gates: (() => void)[] = [];
  const commit = async (items: number[]) => {
    groups.push(items);
    await new Promise<void>((resolve) => gates.push(resolve));
    return items.map((item) => item * 10);
  };
  const open = async () => {
    while (gates.length === 0) await new Promise((resolve) => setImmediate(resolve));
    gates.shift()?.();
  };
  return { groups, commit, open };
}

describe('a group commit', () => {
  it('gathers what arrives while a group is under way, in groups of bounded size', async () => {
    const { groups, commit, open } = gated();
    const group = new GroupCommit(commit, 3);
    const first = group.add(1);
    const reached = open();
    await reached;
    const later = [2, 3, 4, 5].map((item) => group.add(item));
    expect(await first).toBe(10);
    await open();
    await open();
    expect(await Promise.all(later)).toEqual([20, 30, 40, 50]);
    expect(groups).toEqual([[1], [2, 3, 4], [5]]);
  });

  it('fails a group as a whole and goes on with the next', async () => {
    let round = 0;
    const group = new GroupCommit(async (items: number[]) => {
      round += 1;
      if (round === 1) throw new Error('broken');
      return items;
    });
    const failed = await Promise.allSettled([group.add(1), group.add(2)]);
    expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(await group.add(3)).toBe(3);
  });

  it('refuses an item that the statement answered nothing for', async () => {
    const group = new GroupCommit(async (_items: number[]) => [] as number[]);
    await expect(group.add(1)).rejects.toThrow('missing');
  });
});
