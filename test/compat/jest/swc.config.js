const { compilerOptions } = require('../tsconfig.json');

module.exports = {
  ...require('./packages'),
  transform: {
    '\\.[jt]s$': [
      '@swc/jest',
      {
        jsc: {
          target: compilerOptions.target.toLowerCase(),
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: true },
        },
      },
    ],
  },
};
