// Prints "N passed, N failed" of a vitest JSON report; whatever failed without a failed test counts as one failure.
import { readFileSync } from 'node:fs';

const [reportFile, stage, exitCode] = process.argv.slice(2);
const text = readFileSync(reportFile, 'utf8');
const report = text ? JSON.parse(text) : { numPassedTests: 0, numFailedTests: 0, testResults: [] };
const brokenFiles = report.testResults.filter(
  ({ status, assertionResults }) => status === 'failed' && assertionResults.every((test) => test.status !== 'failed'),
).length;
let failed = report.numFailedTests + brokenFiles;
if (exitCode !== '0') {
  console.log(`\nfailed: ${stage} (exit code ${exitCode})`);
  failed ||= 1;
}
console.log(`${report.numPassedTests} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
