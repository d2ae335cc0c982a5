import { RemoteFunction, RemoteFunctionError, RemoteFunctions } from '@sealwire/nest';

/** one euro in other currencies */
const RATES: ReadonlyMap<unknown, number> = new Map([
  ['CHF', 0.94],
  ['GBP', 0.86],
  ['JPY', 163.2],
  ['USD', 1.09],
]);

/** Nothing here is secret: the module `public` answers in plain too. */
@RemoteFunctions('public')
export class PublicController {
  @RemoteFunction({ idempotent: true })
  rate(currency: string): number {
    const rate = RATES.get(currency);
    if (rate === undefined) throw new RemoteFunctionError('currency_unknown', 'There is no rate for that currency.');
    return rate;
  }

  @RemoteFunction({ idempotent: true })
  status(): { service: string; time: Date } {
    return { service: 'payments', time: new Date() };
  }
}
