module.exports = {
  ...require('./packages'),
  transform: { '\\.[jt]s$': ['ts-jest', { tsconfig: 'jest/tsconfig.json' }] },
};
