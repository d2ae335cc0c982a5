export { type Parcel, pack, withAdded } from './payload.js';
export { type Event, type State, TABLE } from './table.js';
