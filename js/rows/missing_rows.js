import { isKnown, loraNames } from './lora_names.js'

// Older ones list what a workflow names with an address only.
const LOOKS = [1, 49]
const ENDING = /\.(safetensors|sft|ckpt|pth?|bin)$/i

/**
 * Keep one widget for each name of a row that no file has, so that the editor lists it among missing models when a workflow is
 * opened: front ends from 1.49 on look at the choices of nodes for that. The widgets are not shown, saved or queued.
 *
 * node: the node of the rows. names: those of the rows that are on. choose(old, name) is called where the user takes another
 * file in the editor's list.
 */
export function listMissing(node, names, choose) {
  if (!looksAtChoices()) return
  const missing = new Set(names.filter((name) => ENDING.test(name) && !isKnown(name)))
  for (const widget of ownWidgets(node)) {
    if (!missing.delete(widget.value)) drop(node, widget)
  }
  for (const name of missing) add(node, name, choose)
}

function looksAtChoices() {
  const [major, minor] = String(window.__COMFYUI_FRONTEND_VERSION__ ?? '').split('.').map(Number)
  return major > LOOKS[0] || (major === LOOKS[0] && minor >= LOOKS[1])
}

const own = new WeakSet()

function ownWidgets(node) {
  return (node.widgets ?? []).filter((widget) => own.has(widget))
}

function add(node, name, choose) {
  const widget = node.addCustomWidget({
    type: 'combo',
    name: `LoRA ${name}`,
    value: name,
    callback: (chosen) => chosen !== name && choose(name, chosen),
    options: { values: loraNames(), hidden: true, canvasOnly: true, serialize: false },
    y: 0,
    hidden: true,
    serialize: false
  })
  own.add(widget)
}

function drop(node, widget) {
  node.widgets.splice(node.widgets.indexOf(widget), 1)
  // The editor forgets a missing model when the widget that had it changes.
  node.onWidgetChanged?.(widget.name, '', widget.value, widget)
  widget.onRemove?.()
}
