import { Module } from '@nestjs/common';
import { AccountChanges } from './account-changes.js';
import { DocumentsService } from './documents.service.js';
import { PaymentsController } from './payments.controller.js';
import { PaymentsService } from './payments.service.js';

@Module({ controllers: [PaymentsController], providers: [PaymentsService, DocumentsService, AccountChanges] })
export class PaymentsModule {}
