import { expect, it, vi } from 'vitest';
import { Turns } from '../src/connection/index.js';

it('hands turns on in order, and to nobody who gave up', async () => {
  const turns = new Turns(() => 1);
  const ran: string[] = [];
  const work = (name: string) => async () => {
    ran.push(name);
  };
  let end = () => {};
  const first = turns.run('a', 10, () => new Promise<void>((resolve) => (end = resolve)));
  const impatient = turns.run('a', 1, work('impatient'));
  const failing = turns.run('a', 10_000, () => Promise.reject(new Error('broken')));
  const last = turns.run('a', 10_000, work('last'));
  const broken = expect(failing).rejects.toThrow('broken');
  await expect(impatient).rejects.toMatchObject({ code: 'busy' });
  end();
  await Promise.all([first, broken, last]);
  expect(ran).toEqual(['last']);
  await turns.run('a', 1, work('later'));
  expect(ran).toEqual(['last', 'later']);
});

it('goes round between those who wait, and gives nobody more than a share', async () => {
  const turns = new Turns(
    () => 2,
    () => 1,
  );
  const ran: string[] = [];
  const ends: (() => void)[] = [];
  const start = (who: string, name: string) =>
    turns.run(who, 10_000, () => {
      ran.push(name);
      return new Promise<void>((resolve) => ends.push(resolve));
    });
  const works = ['a1', 'a2', 'a3', 'b1', 'c1', 'b2'].map((name) => start(name.charAt(0), name));
  expect(ran).toEqual(['a1', 'b1']);
  for (let i = 0; i < works.length; i++) {
    await vi.waitFor(() => expect(ends.length).toBeGreaterThan(i));
    ends[i]!();
    await works[['a1', 'a2', 'a3', 'b1', 'c1', 'b2'].indexOf(ran[i]!)];
  }
  expect(ran).toEqual(['a1', 'b1', 'a2', 'c1', 'b2', 'a3']);
});
