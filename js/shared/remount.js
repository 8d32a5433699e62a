import { app } from '../../../scripts/app.js'

/**
 * Put a widget's element into the page where Nodes 2.0 still shows that of a node which is gone.
 *
 * Undo, and moving nodes into a subgraph, build nodes anew with their old ids. Vue then keeps the node's component, which mounts
 * elements only once: without this the old element stays, and what is done there is lost. selector: of the element among those
 * of its node.
 */
export function remount(node, element, selector) {
  requestAnimationFrame(() => {
    const isShown = LiteGraph.vueNodesMode && node.graph && node.graph === app.canvas.graph
    if (!isShown || element.isConnected) return
    const body = document.querySelector(`[data-node-id="${CSS.escape(String(node.id))}"]`)
    body?.querySelector(selector)?.replaceWith(element)
  })
}
