/**
 * How one message is brought to the server: the client's half of PROTOCOL.md section 6.3. A message is in one state; what
 * happens next and into which state it goes is one row. An event without a row changes nothing.
 */
export type State =
  /** it has no number and waits for a session to take one in */
  | 'waiting'
  /** it has no number and pauses before it takes one */
  | 'pausing'
  /** its calls wait for new metadata of the application: a guard refused some, or `onSession` has run */
  | 'refreshing'
  /** its calls are inside a step 3 that is not answered yet */
  | 'riding'
  /** it is under a number, and its frame goes out again until an answer opens */
  | 'sent'
  /** as `sent`, and the server said that it runs */
  | 'running'
  /** its live result is being read; outcomes are handed over as they come */
  | 'streaming'
  /** its session is over, and a renewal has to tell what became of its number */
  | 'asking'
  /** a renewal could not tell; a request that is still under way may */
  | 'doubtful'
  | 'done';

export type Event =
  // answers under seal
  | 'result'
  /** a result of which at least one call was not committed and goes out again */
  | 'unavailable'
  /** a result of which at least one call was refused by a guard, and goes out again with new metadata */
  | 'unauthorized'
  /** the first piece of a live result */
  | 'live'
  | 'running'
  | 'busy'
  | 'result_gone'
  | 'number_conflict'
  | 'number_too_old'
  | 'outcome_unknown'
  | 'moved_never_ran'
  | 'moved_ran'
  | 'moved_unknown'
  | 'session_ended'
  /** an authentic answer that this client cannot read */
  | 'malformed'
  // unsealed answers, and none
  /** a hint that the session is gone, or that the server takes less than this client believes */
  | 'refused'
  /** anything else that does not open, or no answer at all */
  | 'unanswered'
  /** the answer, of which something opened, is longer than this client takes */
  | 'oversized'
  /** a live result ended before its last piece, and before all its outcomes */
  | 'cut'
  /** the frame should go out again, and its streams cannot be read again */
  | 'spent'
  /** the application could not make the headers of the request, and nothing ever left */
  | 'unmade'
  // what a handshake tells of the number
  | 'told_never_ran'
  | 'told_ran'
  | 'told_unknown'
  | 'told_running'
  /** the result of an earlier number of the same calls, whose request was still under way */
  | 'late_result'
  // time, the network and sessions
  /** the device has no network, so that neither a number is taken nor a frame sent */
  | 'offline'
  /** a pause is over, the network or the page is back, or a request took so long that a copy goes out beside it */
  | 'wake'
  /** a session is there, and `onSession` has run since the metadata was made */
  | 'greeted'
  /** the application gave new metadata */
  | 'fresh'
  /** no request of the frame is under way any more */
  | 'alone'
  /** a session is there */
  | 'session'
  /** it was put into step 3 */
  | 'boarded';

export type Action =
  /** hands the outcomes over, those of calls that go out again excepted */
  | 'deliver'
  /** takes a number in the session and seals */
  | 'seal'
  /** sends the frame, the same bytes each time; at most two requests of a message are under way */
  | 'transmit'
  /** an answer came, so that one request is enough: ends the others */
  | 'single'
  /** waits until the device is online */
  | 'hold'
  /** sets the next sending off after a pause */
  | 'pause'
  /** before another number is taken: no pause the first time, then growing ones */
  | 'rest'
  /** takes the session that is there, or has one made */
  | 'want'
  /** has a handshake made that asks about the number, as far as hints may set one off */
  | 'hint'
  /** ends the session: it takes no number any more, and the next handshake asks about those that are out */
  | 'end'
  /** goes on in the lane that the server named */
  | 'adopt'
  /** nothing ran under the number: the next sending is a first one again */
  | 'forget'
  /** asks the application for new metadata, with which the refused calls go out again as first sendings */
  | 'refresh'
  /** has new metadata made for a message that waits for a session */
  | 'restate'
  /** the next sending carries the identity that its calls had first */
  | 'identify'
  /** notes that it ran, for the error if its result cannot be had */
  | 'note'
  /** waits for requests under way, if there are any */
  | 'linger'
  /** ends the message with an error */
  | 'fail';

interface Row {
  readonly to: State;
  readonly does: readonly Action[];
}
type Rows = Partial<Record<Event, Row>>;

const row = (to: State, ...does: Action[]): Row => ({ to, does });

const LATE = row('done', 'deliver');

/** Answers that end what a number was for, the same in each state that has one. */
const SETTLED: Rows = {
  result: row('done', 'deliver'),
  unavailable: row('pausing', 'deliver', 'identify', 'pause'),
  unauthorized: row('refreshing', 'deliver', 'refresh'),
  late_result: LATE,
  result_gone: row('pausing', 'note', 'identify', 'rest'),
  number_conflict: row('pausing', 'end', 'forget', 'rest'),
  number_too_old: row('pausing', 'identify', 'rest'),
  outcome_unknown: row('pausing', 'identify', 'rest'),
  moved_never_ran: row('pausing', 'adopt', 'forget', 'rest'),
  moved_ran: row('pausing', 'adopt', 'note', 'identify', 'rest'),
  moved_unknown: row('pausing', 'adopt', 'identify', 'rest'),
  malformed: row('done', 'fail'),
  oversized: row('done', 'fail'),
  told_never_ran: row('pausing', 'forget', 'rest'),
  told_ran: row('doubtful', 'note', 'linger'),
  told_unknown: row('doubtful', 'linger'),
  told_running: row('running', 'pause'),
};

const LIVE: Rows = { ...SETTLED, live: row('streaming', 'single') };

const SENT: Rows = {
  ...LIVE,
  running: row('running', 'single', 'pause'),
  busy: row('sent', 'single', 'pause'),
  session_ended: row('asking', 'end'),
  refused: row('sent', 'hint', 'pause'),
  unanswered: row('sent', 'pause'),
  wake: row('sent', 'transmit'),
  offline: row('sent', 'hold'),
};

const RESENT: Row = row('pausing', 'identify', 'rest');

export const TABLE: Readonly<Record<State, Rows>> = {
  waiting: {
    session: row('sent', 'seal', 'transmit'),
    boarded: row('riding'),
    greeted: row('refreshing', 'restate'),
    late_result: LATE,
    offline: row('waiting', 'hold'),
    wake: row('waiting', 'want'),
  },
  pausing: { wake: row('waiting', 'want'), late_result: LATE },
  refreshing: { fresh: row('waiting', 'want'), late_result: LATE },
  riding: { ...SETTLED, told_running: row('running', 'transmit') },
  sent: { ...SENT, spent: row('asking', 'hint'), unmade: row('done', 'fail') },
  running: {
    ...SENT,
    busy: row('running', 'single', 'pause'),
    refused: row('running', 'hint', 'pause'),
    unanswered: row('running', 'pause'),
    wake: row('running', 'transmit'),
    offline: row('running', 'hold'),
  },
  streaming: {
    ...SETTLED,
    running: row('running', 'pause'),
    busy: row('sent', 'pause'),
    session_ended: row('asking', 'end'),
    cut: row('sent', 'pause'),
    told_running: row('streaming'),
  },
  asking: { ...LIVE, running: row('running', 'single', 'pause') },
  doubtful: { ...LIVE, running: row('running', 'single', 'pause'), alone: RESENT, wake: RESENT },
  done: {},
};
