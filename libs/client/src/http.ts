export { type HttpTransportOptions, httpTransport } from './transport/http.js';
