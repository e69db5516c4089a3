// Runs the end-to-end tests that tus-js-client brings along, in Chromium, against our server.
// They name their authors' demonstration server; its address is replaced, nothing else is touched.
// The options come as JSON in the first argument; tests/support/browser.py describes them.

import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exit, launch, page, serve, tell } from './chromium.mjs'

const options = JSON.parse(process.argv[2])
const modules = join(dirname(fileURLToPath(import.meta.url)), 'node_modules')
const THEIRS = 'https://tusd.tusdemo.net/files/'

const asPattern = (text) => text.replaceAll('.', '\\.').replaceAll('/', '\\/')

// Read as files, for the packages do not export them.
const read = (...path) => readFileSync(join(modules, ...path), 'utf8')
const suite = read(`tus-js-client-${options.version}`, 'dist', 'browser-test-bundle.js')
if (!suite.includes(THEIRS)) throw new Error('the suite does not name the server that it did')

const BOOT = `
const env = jasmine.getEnv()
env.configure({
  random: false,
  forbidDuplicateNames: false,
  specFilter: (spec) => spec.getFullName().includes('end-to-end'),
})
env.addReporter({
  specDone({ fullName, status, failedExpectations }) {
    if (status === 'excluded') return
    const why = failedExpectations.map(({ message }) => message)
    window.tellBrowser({ event: 'spec', name: fullName, status, why })
  },
  jasmineDone: ({ overallStatus }) => window.tellBrowser({ event: 'done', status: overallStatus }),
})
window.addEventListener('load', () => env.execute())
`

const classic = page('suite').replace('<input type="file">', '')
const scripts = ['/jasmine.js', '/boot.js', '/suite.js']
const address = await serve({
  '/': ['text/html', classic + scripts.map((path) => `<script src="${path}"></script>`).join('')],
  '/jasmine.js': ['text/javascript', read('jasmine-core', 'lib', 'jasmine-core', 'jasmine.js')],
  '/boot.js': ['text/javascript', BOOT],
  '/suite.js': [
    'text/javascript',
    suite
      .replaceAll(THEIRS, options.endpoint)
      .replaceAll(asPattern(THEIRS), asPattern(options.endpoint)),
  ],
})
const context = await launch(options.chromium, options.profile)
const [tab] = context.pages()
await tab.exposeFunction('tellBrowser', async ({ event, ...details }) => {
  tell(event, details)
  if (event !== 'done') return
  await context.close()
  exit(0)
})
tab.on('pageerror', (error) => tell('pageerror', { message: String(error) }))
tab.on('console', (message) => tell('console', { message: message.text() }))
await tab.goto(address)
