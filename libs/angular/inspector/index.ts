export { type AttackOptions, WireAttacks } from './attacks.js';
export type {
  AttackKind,
  AttackReport,
  Exchange,
  Handshake,
  RecordedCall,
  Tampering,
  WireBody,
  WirePiece,
  WireSide,
} from './exchange.js';
export { type InspectorView, SealwireInspector } from './inspector.js';
export type { Between, Passed, Passing } from './recording.js';
export { WireRecorder } from './wire-recorder.js';
export { type InspectorOptions, withInspector } from './with-inspector.js';
