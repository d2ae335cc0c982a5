import { Injectable, signal } from '@angular/core';
export type AttackKind = string;
export interface AttackReport {
  kind: AttackKind;
  proxy: string;
  application: string;
}
@Injectable({ providedIn: 'root' })
export class WireAttacks {
  readonly armed = signal<AttackKind | undefined>(undefined);
  async arm(kind: AttackKind, _options?: object): Promise<AttackReport> {
    return { kind, proxy: 'stub proxy', application: 'stub app' };
  }
  async replay(): Promise<AttackReport> {
    return { kind: 'replay', proxy: 'stub proxy', application: '' };
  }
  reset() {}
}
