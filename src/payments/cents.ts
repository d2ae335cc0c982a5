import { ValidateBy } from 'class-validator';
import type { ValueTransformer } from 'typeorm';

/** far below the largest bigint of PostgreSQL, so that no sum of balances comes near it */
const MAXIMUM = 10n ** 15n;

/** An amount of money: a bigint of cents above zero. */
export function IsCents(): PropertyDecorator {
  return ValidateBy({
    name: 'isCents',
    validator: {
      validate: (value) => typeof value === 'bigint' && value > 0n && value <= MAXIMUM,
      defaultMessage: () => '$property must be a bigint of cents between 1 and 10^15',
    },
  });
}

/** The driver hands a bigint out as text. */
export const centsColumn: ValueTransformer = {
  to: (value?: bigint) => value?.toString(),
  from: (value: string) => BigInt(value),
};
