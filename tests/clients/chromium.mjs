// What both programs in Chromium need: a page of their own origin, a browser, JSON lines.

import { lstatSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { chromium } from 'playwright-core'

export function tell(event, details = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...details })}\n`)
}

export function page(title, ...scripts) {
  const tags = scripts.map((path) => `<script src="${path}" type="module"></script>`)
  return `<!doctype html><meta charset="utf-8"><title>${title}</title><link rel="icon" href="data:,">
<input type="file">${tags.join('')}`
}

// The address of a server of these files on this machine; the paths lead to [type, content].
export async function serve(files, port) {
  const server = createServer((request, response) => {
    const [type, content] = files[request.url] ?? ['text/plain', null]
    response.writeHead(content === null ? 404 : 200, { 'Content-Type': `${type}; charset=utf-8` })
    response.end(content ?? '')
  })
  await new Promise((resolve) => server.listen(port ?? 0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${server.address().port}/`
}

// A browser that keeps what it keeps in the directory `profile`. One that was killed with the
// process that drove it takes a moment to be gone from there.
export async function launch(program, profile) {
  const lock = join(profile, 'SingletonLock')
  const deadline = Date.now() + 10_000
  while (lstatSync(lock, { throwIfNoEntry: false }) && Date.now() < deadline) await setTimeout(20)
  return chromium.launchPersistentContext(profile, {
    executablePath: program,
    // Without a sandbox, for tests are run by root in containers.
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  })
}

// Node would wait for sockets that are kept alive.
export function exit(code) {
  process.stdout.write('', () => process.exit(code))
}
