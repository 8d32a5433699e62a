import { app } from '../../../scripts/app.js'
import { chain } from '../shared/chain.js'
import { addDomWidget } from '../shared/dom_widget.js'
import { remount } from '../shared/remount.js'
import { reportView } from './report_view.js'

const WIDGET = 'styledelta_report'
// Nodes that have a panel from the beginning. Others get one when a run gives them text to show.
const REPORT_NODES = new Set([
  'StyleDeltaBakeBlockWeights',
  'StyleDeltaBakeControlLora',
  'StyleDeltaCompareControl',
  'StyleDeltaCompareLoras',
  'StyleDeltaControlLoraReport',
  'StyleDeltaControlSchedule',
  'StyleDeltaExtractControlLora',
  'StyleDeltaExtractLora',
  'StyleDeltaExtractLoraFiles',
  'StyleDeltaExtractNorms',
  'StyleDeltaExtractNormsFiles',
  'StyleDeltaFitStyle',
  'StyleDeltaLoraReport',
  'StyleDeltaMergeLoras',
  'StyleDeltaMixNorms',
  'StyleDeltaNormReport',
  'StyleDeltaNormSwap',
  'StyleDeltaOptimiseStyle',
  'StyleDeltaResizeControlLora',
  'StyleDeltaResizeLora',
  'StyleDeltaSizePreview',
  'StyleDeltaTrainNorms',
  'StyleDeltaTrainStyleNetwork'
])
// In the units of the graph.
const CHART_WIDTH = 400

/** Parts of the extension: a panel that shows a run's report and charts on its node. */
export const reportPanel = {
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith('StyleDelta')) return
    if (REPORT_NODES.has(node.comfyClass)) panelOf(node)
    chain(node, 'onExecuted', (output) => show(node, output))
  },

  // Undo makes nodes anew, while the results stay.
  loadedGraphNode(node) {
    show(node, app.nodeOutputs[outputKey(node)])
  },

  // The editor brings results back when another workflow's tab is opened.
  onNodeOutputsUpdated(outputs) {
    for (const node of allNodes()) show(node, outputs[outputKey(node)])
  }
}

const panels = new WeakMap()

function show(node, output) {
  if (!node.comfyClass?.startsWith('StyleDelta') || !(output?.text || output?.styledelta_charts)) return
  const panel = panelOf(node)
  if (panel.shown === output) return
  const isFirst = !panel.shown
  panel.shown = output
  panel.view.show(output)
  remount(node, panel.view.element, '.styledelta-panel')
  // Later it is as the user left it.
  if (isFirst) panel.view.setOpen(hasRoom(node, panel))
}

/** Whether the node can show its report without covering a node that it does not cover now, and without leaving its group. */
function hasRoom(node, { view, shown }) {
  const [width, height] = drawnSize(node)
  const wide = shown.styledelta_charts?.length ? Math.max(width, CHART_WIDTH) : width
  const now = box(node, width, height)
  const then = box(node, wide, height + view.heightOpen() - view.height())
  const others = node.graph.nodes.filter((other) => other !== node).map((other) => box(other, ...drawnSize(other)))
  const groups = node.graph.groups.map(({ pos: [x, y], size: [across, down] }) => ({ left: x, top: y, right: x + across, bottom: y + down }))
  return (
    !others.some((other) => meet(then, other) && !meet(now, other)) && !groups.some((group) => holds(group, now) && !holds(group, then))
  )
}

/** Width and height of a node without its title. Nodes 2.0 may draw it higher than the graph says. */
function drawnSize(node) {
  const [width, height] = node.size
  const element = LiteGraph.vueNodesMode && document.querySelector(`[data-node-id="${CSS.escape(String(node.id))}"]`)
  return [width, element ? Math.max(height, element.offsetHeight - LiteGraph.NODE_TITLE_HEIGHT) : height]
}

function box({ pos: [x, y] }, width, height) {
  return { left: x, top: y - LiteGraph.NODE_TITLE_HEIGHT, right: x + width, bottom: y + height }
}

function meet(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
}

function holds(a, b) {
  return a.left <= b.left && b.right <= a.right && a.top <= b.top && b.bottom <= a.bottom
}

/** The panel of a node, made where it has none. */
function panelOf(node) {
  if (panels.has(node)) return panels.get(node)
  const panel = { view: reportView((change) => resize(node, panel, change)), shown: null }
  panels.set(node, panel)
  const widget = addDomWidget(node, WIDGET, 'STYLEDELTA_REPORT', panel.view.element, {
    getValue: () => '',
    setValue: () => {},
    getMinHeight: () => panel.view.height(),
    serialize: false
  })
  // The option keeps it out of the prompt, the property out of the saved workflow.
  widget.serialize = false
  chain(node, 'onRemoved', () => panel.view.remove())
  return panel
}

function resize(node, { shown }, change) {
  if (change > 0 && shown?.styledelta_charts?.length) widen(node, CHART_WIDTH)
  // In Nodes 2.0 the style sheet's least height makes room.
  if (LiteGraph.vueNodesMode) return
  const [, least] = node.computeSize()
  const height = node.size[1] + Math.min(change, 0)
  node.setSize([node.size[0], Math.max(least, height)])
  node.setDirtyCanvas(true, true)
}

function widen(node, width) {
  if (node.size[0] >= width) return
  node.setSize([width, node.size[1]])
  // Nodes 2.0 of older front ends take a node's size from its element alone, as when its corner is dragged.
  requestAnimationFrame(() => {
    const element = panels.get(node).view.element.closest('[data-node-id]')
    if (element && element.offsetWidth < width) element.style.setProperty('--node-width', `${width}px`)
  })
}

/** The name under which the editor keeps a node's results: its number, behind that of the subgraph it is in. */
function outputKey(node) {
  return node.graph && node.graph.isRootGraph === false ? `${node.graph.id}:${node.id}` : String(node.id)
}

function allNodes() {
  const root = app.rootGraph ?? app.graph
  return [root, ...(root?.subgraphs?.values() ?? [])].flatMap((graph) => graph?.nodes ?? [])
}
