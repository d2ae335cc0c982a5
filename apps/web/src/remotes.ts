import { remoteModule } from '@sealwire/angular';
// a type only: nothing of the server is in the bundle
import type { PaymentsController } from '../../../src/payments/payments.controller.js';

export const Payments = remoteModule<PaymentsController>('payments');
