export { Audience } from './audience.js';
export { Flights } from './flights.js';
