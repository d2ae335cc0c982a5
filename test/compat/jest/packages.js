// Before Node 24.9 Jest cannot load ES modules by require(), so those of these packages are transformed like the tests.
module.exports = {
  rootDir: '..',
  roots: ['<rootDir>/jest'],
  testEnvironment: 'node',
  cacheDirectory: '<rootDir>/dist/jest',
  transformIgnorePatterns: ['/node_modules/(?!(@sealwire|@noble)/)'],
};
