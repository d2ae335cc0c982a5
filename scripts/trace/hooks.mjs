// node --import: notes which functions of the packages run, as long as somebody asks.
import { register } from 'node:module';

globalThis.sealwireTrace = () => undefined;
register('./loader.mjs', import.meta.url);
