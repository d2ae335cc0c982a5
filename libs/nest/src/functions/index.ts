export { requestView } from './request-view.js';
export { RunningCall } from './running-call.js';
