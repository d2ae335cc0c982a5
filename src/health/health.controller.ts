import { Controller, Get, ServiceUnavailableException } from '@nestjs/common';
import { SealwireHealthIndicator } from '@sealwire/nest';

/** An ordinary REST controller beside the remote functions. */
@Controller('health')
export class HealthController {
  constructor(private readonly sealwire: SealwireHealthIndicator) {}

  @Get()
  async check() {
    const health = await this.sealwire.check('sealwire');
    if (health.sealwire.status === 'down') throw new ServiceUnavailableException(health);
    return health;
  }
}
