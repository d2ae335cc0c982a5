import { describe, expect, it } from 'vitest';
import { type Event, type State, TABLE } from '../src/delivery/index.js';

/** PROTOCOL.md section 6.3, what a client does, written out: state, event, next state, actions. */
const ROWS = `
waiting   session          sent      seal transmit
waiting   boarded          riding
waiting   greeted          refreshing restate
waiting   late_result      done      deliver
waiting   offline          waiting   hold
waiting   wake             waiting   want
pausing   wake             waiting   want
pausing   late_result      done      deliver
refreshing fresh           waiting   want
refreshing late_result     done      deliver

riding    result           done      deliver
riding    unavailable      pausing   deliver identify pause
riding    unauthorized     refreshing deliver refresh
riding    late_result      done      deliver
riding    result_gone      pausing   note identify rest
riding    number_conflict  pausing   end forget rest
riding    number_too_old   pausing   identify rest
riding    outcome_unknown  pausing   identify rest
riding    moved_never_ran  pausing   adopt forget rest
riding    moved_ran        pausing   adopt note identify rest
riding    moved_unknown    pausing   adopt identify rest
riding    malformed        done      fail
riding    oversized        done      fail
riding    told_never_ran   pausing   forget rest
riding    told_ran         doubtful  note linger
riding    told_unknown     doubtful  linger
riding    told_running     running   transmit

sent      result           done      deliver
sent      unavailable      pausing   deliver identify pause
sent      unauthorized     refreshing deliver refresh
sent      live             streaming single
sent      late_result      done      deliver
sent      running          running   single pause
sent      busy             sent      single pause
sent      result_gone      pausing   note identify rest
sent      number_conflict  pausing   end forget rest
sent      number_too_old   pausing   identify rest
sent      outcome_unknown  pausing   identify rest
sent      moved_never_ran  pausing   adopt forget rest
sent      moved_ran        pausing   adopt note identify rest
sent      moved_unknown    pausing   adopt identify rest
sent      session_ended    asking    end
sent      malformed        done      fail
sent      oversized        done      fail
sent      refused          sent      hint pause
sent      unanswered       sent      pause
sent      told_never_ran   pausing   forget rest
sent      told_ran         doubtful  note linger
sent      told_unknown     doubtful  linger
sent      told_running     running   pause
sent      wake             sent      transmit
sent      offline          sent      hold
sent      spent            asking    hint
sent      unmade           done      fail

running   result           done      deliver
running   unavailable      pausing   deliver identify pause
running   unauthorized     refreshing deliver refresh
running   live             streaming single
running   late_result      done      deliver
running   running          running   single pause
running   busy             running   single pause
running   result_gone      pausing   note identify rest
running   number_conflict  pausing   end forget rest
running   number_too_old   pausing   identify rest
running   outcome_unknown  pausing   identify rest
running   moved_never_ran  pausing   adopt forget rest
running   moved_ran        pausing   adopt note identify rest
running   moved_unknown    pausing   adopt identify rest
running   session_ended    asking    end
running   malformed        done      fail
running   oversized        done      fail
running   refused          running   hint pause
running   unanswered       running   pause
running   told_never_ran   pausing   forget rest
running   told_ran         doubtful  note linger
running   told_unknown     doubtful  linger
running   told_running     running   pause
running   wake             running   transmit
running   offline          running   hold

streaming result           done      deliver
streaming unavailable      pausing   deliver identify pause
streaming unauthorized     refreshing deliver refresh
streaming late_result      done      deliver
streaming running          running   pause
streaming busy             sent      pause
streaming cut              sent      pause
streaming result_gone      pausing   note identify rest
streaming number_conflict  pausing   end forget rest
streaming number_too_old   pausing   identify rest
streaming outcome_unknown  pausing   identify rest
streaming moved_never_ran  pausing   adopt forget rest
streaming moved_ran        pausing   adopt note identify rest
streaming moved_unknown    pausing   adopt identify rest
streaming session_ended    asking    end
streaming malformed        done      fail
streaming oversized        done      fail
streaming told_never_ran   pausing   forget rest
streaming told_ran         doubtful  note linger
streaming told_unknown     doubtful  linger
streaming told_running     streaming

asking    result           done      deliver
asking    unavailable      pausing   deliver identify pause
asking    unauthorized     refreshing deliver refresh
asking    live             streaming single
asking    late_result      done      deliver
asking    running          running   single pause
asking    result_gone      pausing   note identify rest
asking    number_conflict  pausing   end forget rest
asking    number_too_old   pausing   identify rest
asking    outcome_unknown  pausing   identify rest
asking    moved_never_ran  pausing   adopt forget rest
asking    moved_ran        pausing   adopt note identify rest
asking    moved_unknown    pausing   adopt identify rest
asking    malformed        done      fail
asking    oversized        done      fail
asking    told_never_ran   pausing   forget rest
asking    told_ran         doubtful  note linger
asking    told_unknown     doubtful  linger
asking    told_running     running   pause

doubtful  result           done      deliver
doubtful  unavailable      pausing   deliver identify pause
doubtful  unauthorized     refreshing deliver refresh
doubtful  live             streaming single
doubtful  late_result      done      deliver
doubtful  running          running   single pause
doubtful  result_gone      pausing   note identify rest
doubtful  number_conflict  pausing   end forget rest
doubtful  number_too_old   pausing   identify rest
doubtful  outcome_unknown  pausing   identify rest
doubtful  moved_never_ran  pausing   adopt forget rest
doubtful  moved_ran        pausing   adopt note identify rest
doubtful  moved_unknown    pausing   adopt identify rest
doubtful  malformed        done      fail
doubtful  oversized        done      fail
doubtful  told_never_ran   pausing   forget rest
doubtful  told_ran         doubtful  note linger
doubtful  told_unknown     doubtful  linger
doubtful  told_running     running   pause
doubtful  alone            pausing   identify rest
doubtful  wake             pausing   identify rest
`
  .split('\n')
  .filter(Boolean)
  .map((line) => line.trim().split(/\s+/) as [State, Event, State, ...string[]]);

describe('the table of delivery', () => {
  it.each(ROWS)('%s + %s -> %s', (state, event, to, ...does) => {
    expect(TABLE[state][event]).toEqual({ to, does });
  });

  it('has no other rows', () => {
    const rows = Object.entries(TABLE).flatMap(([state, events]) => Object.keys(events).map((e) => `${state} ${e}`));
    expect(rows.sort()).toEqual(ROWS.map(([state, event]) => `${state} ${event}`).sort());
  });

  it('makes a first sending of nothing that came unsealed, or did not come', () => {
    const unsealed: Event[] = ['refused', 'unanswered', 'wake', 'alone', 'told_unknown', 'told_ran', 'oversized'];
    for (const events of Object.values(TABLE)) {
      for (const event of unsealed) expect(events[event]?.does ?? []).not.toContain('forget');
    }
  });
});
