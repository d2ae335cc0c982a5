import { Controller, Get } from '@nestjs/common';
import { SealwireHealthIndicator } from '@sealwire/nest';

/** An ordinary REST controller beside the remote functions. */
@Controller('health')
export class HealthController {
  constructor(private readonly sealwire: SealwireHealthIndicator) {}

  @Get()
  check() {
    return this.sealwire.isHealthy('sealwire');
  }
}
