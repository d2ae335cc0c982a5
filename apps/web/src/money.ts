import { Pipe, type PipeTransform } from '@angular/core';

const EUROS = new Intl.NumberFormat('en-IE', { style: 'currency', currency: 'EUR' });

/** `€1,234.56` of bigint cents, exact however many. */
export function money(cents: bigint): string {
  const digits = `${cents < 0n ? -cents : cents}`.padStart(3, '0');
  const exact = `${cents < 0n ? '-' : ''}${digits.slice(0, -2)}.${digits.slice(-2)}`;
  return EUROS.format(exact as `${number}`);
}

/** Cents of `12`, `12.5` or `12,50`; undefined for anything else, and for nothing. */
export function cents(text: string): bigint | undefined {
  const [, euros, fraction = ''] = /^\s*(\d{1,13})(?:[.,](\d{1,2}))?\s*$/.exec(text) ?? [];
  const amount = euros === undefined ? 0n : BigInt(euros + fraction.padEnd(2, '0'));
  return amount > 0n ? amount : undefined;
}

@Pipe({ name: 'money' })
export class MoneyPipe implements PipeTransform {
  transform(amount: bigint): string {
    return money(amount);
  }
}
