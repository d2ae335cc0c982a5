/** Something that whoever starts the application can put right. The message is one sentence, shown without a stack. */
export class StartupError extends Error {
  override readonly name = 'StartupError';
}
