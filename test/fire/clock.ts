/** Preloaded into a server: its wall clock is wrong by FIRE_CLOCK_SHIFT milliseconds. The monotonic clock is right. */
const shift = Number(process.env.FIRE_CLOCK_SHIFT ?? 0);
const TrueDate = Date;

class ShiftedDate extends TrueDate {
  constructor(...parameters: [] | [string | number | Date]) {
    if (parameters.length === 0) super(ShiftedDate.now());
    else super(...parameters);
  }

  static override now(): number {
    return TrueDate.now() + shift;
  }
}

globalThis.Date = ShiftedDate as DateConstructor;
