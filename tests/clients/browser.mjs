// Uploads one file from a page in Chromium and tells in JSON lines what happens.
// The options come as JSON in the first argument, commands as lines of JSON on standard input;
// tests/support/browser.py describes both. The page is served from an origin of its own, so that
// every request to the server is subject to CORS.

import { build } from 'esbuild'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { exit, launch, page as html, serve, tell } from './chromium.mjs'

const options = JSON.parse(process.argv[2])

async function servePage() {
  const here = dirname(fileURLToPath(import.meta.url))
  const bundle = await build({
    entryPoints: [join(here, 'page.mjs')],
    bundle: true,
    format: 'esm',
    write: false,
    logLevel: 'error',
  })
  const files = {
    '/': ['text/html', html('upload', '/page.js')],
    '/page.js': ['text/javascript', bundle.outputFiles[0].text],
  }
  return serve(files, options.pagePort)
}

function listen(page, origin) {
  const numbers = new Map()
  let count = 0
  const isOurs = (request) => request.url().startsWith('http') && !request.url().startsWith(origin)
  page.on('request', (request) => {
    if (!isOurs(request)) return
    numbers.set(request, count)
    const headers = request.headers()
    tell('request', {
      id: count++,
      method: (headers['x-http-method-override'] ?? request.method()).toUpperCase(),
      wireMethod: request.method(),
      url: request.url(),
      headers,
    })
  })
  page.on('response', (response) => {
    const id = numbers.get(response.request())
    if (id === undefined) return
    tell('response', { id, status: response.status(), headers: response.headers() })
  })
  page.on('requestfailed', (request) => {
    if (!isOurs(request)) return
    tell('broken', { id: numbers.get(request), message: request.failure()?.errorText ?? '' })
  })
  page.on('pageerror', (error) => tell('pageerror', { message: String(error) }))
  page.on('console', (message) => {
    if (message.type() === 'error') tell('console', { message: message.text() })
  })
}

const address = await servePage()
const context = await launch(options.chromium, options.profile)
const [page] = context.pages()
await page.exposeFunction('tellBrowser', ({ event, ...details }) => {
  tell(event, details)
  if (event === 'success' || event === 'error') close(event === 'error' ? 1 : 0)
})
listen(page, address)

let closing = false
async function close(code) {
  if (closing) return
  closing = true
  await context.close()
  exit(code)
}

async function open() {
  await page.goto(address)
  tell('opened', { origin: new URL(address).origin, browser: context.browser()?.version() ?? '' })
  await page.waitForFunction(() => window.zoo !== undefined)
  await page.evaluate((chosen) => window.zoo.open(chosen), options)
}

async function choose() {
  await page.setInputFiles('input', options.file)
  await page.evaluate(() => window.zoo.choose())
}

async function untilRetrieverKnows() {
  while (!(await page.evaluate(() => window.zoo.retrieverKnows()))) await page.waitForTimeout(50)
}

const COMMANDS = {
  pause: () => page.evaluate(() => window.zoo.pause()),
  resume: () => page.evaluate(() => window.zoo.resume()),
  cancel: () => page.evaluate(() => window.zoo.cancel()),
  offline: () => context.setOffline(true),
  online: () => context.setOffline(false),
  // The user closes the tab and chooses the same file again.
  async reload() {
    await open()
    await choose()
  },
  // The same, and the golden retriever brings the file back.
  async restore() {
    await untilRetrieverKnows()
    await open()
  },
  close: () => close(0),
}

createInterface({ input: process.stdin }).on('line', async (line) => {
  const { command } = JSON.parse(line)
  await COMMANDS[command]()
  tell('did', { command })
})

await open()
if (options.choose) await choose()
