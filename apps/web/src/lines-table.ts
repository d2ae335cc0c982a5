import { DatePipe } from '@angular/common';
import { ChangeDetectionStrategy, Component, input } from '@angular/core';
import { MoneyPipe } from './money.js';

interface Line {
  readonly number: number;
  readonly booked: Date;
  readonly amount: bigint;
  readonly note: string;
}

@Component({
  selector: 'app-lines-table',
  changeDetection: ChangeDetectionStrategy.OnPush,
  imports: [DatePipe, MoneyPipe],
  template: `
    <table>
      <caption class="hidden">{{ caption() }}</caption>
      <thead class="hidden">
        <tr><th scope="col">Number</th><th scope="col">Booked</th><th scope="col">Note</th><th scope="col">Amount</th></tr>
      </thead>
      <tbody>
        @for (line of lines(); track line.number) {
          <tr>
            <td class="number">{{ line.number }}</td>
            <td class="time">{{ line.booked | date: 'HH:mm:ss' }}</td>
            <td class="note">{{ line.note }}</td>
            <td class="cents" [class.out]="isOut(line)">{{ line.amount | money }}</td>
          </tr>
        }
      </tbody>
    </table>
  `,
})
export class LinesTable {
  readonly caption = input.required<string>();
  readonly lines = input.required<readonly Line[]>();

  // a bigint literal does not parse in a template
  protected isOut({ amount }: Line): boolean {
    return amount < 0n;
  }
}
