/**
 * A widget that is an HTML element, on a node of the canvas or of Nodes 2.0.
 *
 * It is shown at any zoom, and not in the panel of the selected node's properties, which would draw it anew at its own width.
 */
export function addDomWidget(node, name, type, element, options) {
  // What a popup of the widget is put into.
  element.dataset.styledeltaWidget = ''
  return node.addDOMWidget(name, type, element, { hideOnZoom: false, hideInPanel: true, ...options })
}
