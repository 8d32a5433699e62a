let refreshed = null

/** Take over the definitions of a refresh (key R): the editor registers them some time later. */
export function keepDefinitions(definitions) {
  refreshed = definitions
}

/** The choices that the host gives to Add LoRA. */
export function loraNames() {
  return choices('lora_name')
}

export function blockPresets() {
  return choices('preset')
}

function choices(input) {
  const definition = refreshed?.StyleDeltaAddLora ?? LiteGraph.registered_node_types.StyleDeltaAddLora?.nodeData
  const [type, options] = definition?.input?.required?.[input] ?? []
  return Array.isArray(type) ? type : options?.options ?? []
}

/** A name split for showing: [folder with its slash, name without .safetensors]. */
export function shownName(name) {
  const cut = Math.max(name.lastIndexOf('/'), name.lastIndexOf('\\')) + 1
  return [name.slice(0, cut), name.slice(cut).replace(/\.safetensors$/i, '')]
}

/** Whether two names mean one file, whichever way their folders are separated. */
export function isKnown(name) {
  const plain = name.replaceAll('\\', '/')
  return loraNames().some((known) => known.replaceAll('\\', '/') === plain)
}
