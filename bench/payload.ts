const ROW = 140;

export interface Bookings {
  readonly rows: { id: string; amount: number; currency: string; note: string; paid: boolean }[];
}

/** A list of bookings, as a business call carries them, whose JSON text has exactly that many bytes. */
export function payloadOf(bytes: number): Bookings {
  const rows = Array.from({ length: Math.max(1, Math.floor(bytes / ROW)) }, (_, i) => ({
    id: `7c1e${String(i).padStart(4, '0')}-55aa-4be2-9d1f-02c48c7a6b1e`,
    amount: 129_900 + i * 37,
    currency: 'EUR',
    note: '2nd reminder',
    paid: i % 3 === 0,
  }));
  const last = rows.at(-1);
  if (last) last.note += '.'.repeat(bytes - JSON.stringify({ rows }).length);
  return { rows };
}
