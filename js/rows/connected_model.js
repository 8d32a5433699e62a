// More nodes than any chain has.
const MOST_HOPS = 50
// The widgets of ComfyUI's loaders, by the list that their names are from.
const LOADERS = { ckpt_name: 'checkpoints', unet_name: 'diffusion_models' }

/**
 * The file of the model that the LoRAs of a node are applied to, as {kind, name}; null where the graph does not tell.
 *
 * It is found along the links: from the stack to the node that applies it, and from there back to the loader of its model.
 */
export function connectedModel(node) {
  const applies = nodeThatApplies(node)
  return applies ? loaderBefore(applies) : null
}

function nodeThatApplies(start) {
  const seen = new Set([start])
  const waiting = [start]
  while (waiting.length && seen.size < MOST_HOPS) {
    const node = waiting.shift()
    if (node !== start && slotOf(node, 'model') >= 0) return node
    for (const next of nodesAfter(node)) {
      if (seen.has(next)) continue
      seen.add(next)
      waiting.push(next)
    }
  }
  return null
}

/** The nodes that take the first output of a node, which is its stack. */
function nodesAfter(node) {
  return (node.getOutputNodes?.(0) ?? []).filter(Boolean)
}

function loaderBefore(start) {
  let node = start
  for (let hops = 0; node && hops < MOST_HOPS; hops++) {
    const widget = node.widgets?.find(({ name }) => name in LOADERS)
    if (widget) return { kind: LOADERS[widget.name], name: String(widget.value) }
    const slot = slotOf(node, 'model')
    node = slot < 0 && node.type !== 'Reroute' ? null : node.getInputNode?.(Math.max(slot, 0))
  }
  return null
}

function slotOf(node, name) {
  return node.inputs?.findIndex((input) => input.name === name && input.type === 'MODEL') ?? -1
}
