import { thrownText } from '@sealwire/core';
import { describe, expect, it } from 'vitest';

describe('what is told of something that was thrown', () => {
  const itself = new AggregateError([]);
  itself.errors.push(itself);

  it.each([
    ['an error', new Error('The disk is full.'), 'The disk is full.'],
    ['an error without a message', new TypeError(), 'TypeError'],
    [
      'several errors',
      new AggregateError([new Error('refused by ::1'), 'refused by 127.0.0.1']),
      'refused by ::1, refused by 127.0.0.1',
    ],
    [
      'several errors with a message of their own',
      new AggregateError([new Error('one')], 'All failed.'),
      'All failed.',
    ],
    ['no errors at all', new AggregateError([]), 'AggregateError'],
    ['an error that holds itself', itself, 'something that is no text'],
    ['a text', 'full', 'full'],
    ['nothing', undefined, 'undefined'],
    ['what is no text', Object.create(null), 'something that is no text'],
  ])('is a sentence for %s', (_name, thrown, text) => {
    expect(thrownText(thrown)).toBe(text);
  });
});
