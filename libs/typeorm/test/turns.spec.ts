import { expect, it } from 'vitest';
import { Turns } from '../src/outcomes/turns.js';

it('hands turns on in order, and to nobody who gave up', async () => {
  const turns = new Turns(() => 1);
  const ran: string[] = [];
  const work = (name: string) => async () => {
    ran.push(name);
  };
  let end = () => {};
  const first = turns.run(10, () => new Promise<void>((resolve) => (end = resolve)));
  const impatient = turns.run(1, work('impatient'));
  const failing = turns.run(10_000, () => Promise.reject(new Error('broken')));
  const last = turns.run(10_000, work('last'));
  const broken = expect(failing).rejects.toThrow('broken');
  await expect(impatient).rejects.toMatchObject({ code: 'busy' });
  end();
  await Promise.all([first, broken, last]);
  expect(ran).toEqual(['last']);
  await turns.run(1, work('later'));
  expect(ran).toEqual(['last', 'later']);
});
