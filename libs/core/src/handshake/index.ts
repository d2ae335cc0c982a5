export { decodeServerOptions, encodeServerOptions, frameHead, START } from './frames.js';
export { expand, SymmetricState } from './key-schedule.js';
export {
  decodeAnswers,
  decodeFirstCalls,
  decodeRenewalAnswers,
  decodeRenewals,
  encodeAnswers,
  encodeFirstCalls,
  encodeRenewalAnswers,
  encodeRenewals,
} from './renewal.js';
