import { api } from '../../../scripts/api.js'

const ROUTES = '/styledelta/style_palette'
const LOADER = 'StyleDeltaLoadStyleNetwork'
const KEPT_SHEETS = 8
const sheets = new Map()

/** The name of the style network that is connected to a node; empty when the graph does not tell. */
export function networkOf(node) {
  let slot = node.inputs?.findIndex((input) => input.name === 'style_network') ?? -1
  let source = slot < 0 ? null : node.getInputNode?.(slot)
  for (let hops = 0; source?.type === 'Reroute' && hops < 20; hops++) source = source.getInputNode(0)
  if (source?.comfyClass !== LOADER) return ''
  return String(source.widgets?.find((widget) => widget.name === 'network')?.value ?? '')
}

/**
 * Read names and thumbnails of a network's styles. onSheet({names, pictures}) is called for the names and for each thumbnail.
 * Throws an Error with the reason; one that is busy when thumbnails are missing because a prompt runs.
 */
export async function readNetworkStyles(node, onSheet) {
  const network = networkOf(node)
  const known = sheets.get(network)
  if (known) return onSheet(known)
  const query = new URLSearchParams({ network, node: String(node.id) })
  const answer = await api.fetchApi(`${ROUTES}/thumbnails?${query}`)
  if (!answer.ok) throw await failure(answer)
  let sheet = null
  let count = 0
  for await (const line of linesOf(answer.body)) {
    if (sheet) sheet.pictures.push(line.picture)
    else [sheet, count] = [{ names: line.names, pictures: [] }, line.count]
    onSheet(sheet)
  }
  if (sheet.pictures.length < count) throw Object.assign(new Error(''), { isBusy: true })
  // What a nameless network is, only the server knows, and that may change with each run.
  if (!network) return
  if (sheets.size >= KEPT_SHEETS) sheets.delete(sheets.keys().next().value)
  sheets.set(network, sheet)
}

async function* linesOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + part.value).split('\n')
    rest = lines.pop()
    for (const line of lines) yield JSON.parse(line)
  }
}

/** The mix as a picture: {blob, isDemo}. Throws an Error, whose `isBusy` tells that asking again later may help. */
export async function paintedMix(node, palette, strength) {
  // An older picture of this node, or of another workflow's, is not meant where none is connected.
  const demo = !node.inputs?.find((input) => input.name === 'image')?.link
  const body = JSON.stringify({ node: String(node.id), network: networkOf(node), demo, palette, strength })
  const headers = { 'Content-Type': 'application/json' }
  const answer = await api.fetchApi(`${ROUTES}/preview`, { method: 'POST', body, headers })
  if (!answer.ok) throw await failure(answer)
  return { blob: await answer.blob(), isDemo: answer.headers.get('X-StyleDelta-Picture') === 'demo' }
}

/** Read the names of the LoRA files and the pictures beside them, as readNetworkStyles does. */
export async function readFileStyles(onSheet) {
  const answer = await api.fetchApi(`${ROUTES}/files`)
  if (!answer.ok) throw await failure(answer)
  const { names, pictured } = await answer.json()
  const pictures = names.map((name) => {
    return pictured.includes(name) ? api.apiURL(`${ROUTES}/file_picture?${new URLSearchParams({ name })}`) : ''
  })
  onSheet({ names, pictures })
}

/** Call back with whether prompts are queued or running, whenever that changes. Returns a function that ends it. */
export function watchQueue(callback) {
  const listener = ({ detail }) => {
    const remaining = detail?.exec_info?.queue_remaining
    if (remaining !== undefined) callback(remaining > 0)
  }
  api.addEventListener('status', listener)
  return () => api.removeEventListener('status', listener)
}

async function failure(answer) {
  const text = answer.status === 404 ? '' : (await answer.text()).slice(0, 300)
  return Object.assign(new Error(text), { isBusy: answer.status === 503 || answer.status === 429 })
}
