const SVG = 'http://www.w3.org/2000/svg'

/** An HTML element with properties, listeners (on...), attributes under their own names in `attributes`, and children. */
export function html(tag, { attributes = {}, ...properties } = {}, ...children) {
  return fill(Object.assign(document.createElement(tag), properties), attributes, children)
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children)
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  element.append(...children)
  return element
}

/** Keep the pointer's events from the graph: nodes are not dragged by what is done in the element. */
export function keepPointer(element) {
  for (const name of ['pointerdown', 'pointermove', 'pointerup', 'dblclick']) {
    element.addEventListener(name, (event) => event.stopPropagation())
  }
}

/** The text of a style sheet. name: its path from the folder of the extension. */
export async function readStyle(name) {
  const answer = await fetch(new URL(`../${name}`, import.meta.url))
  if (!answer.ok) throw new Error(`StyleDelta: the server answered ${name} with ${answer.status}.`)
  return answer.text()
}

/** A style sheet for the inside of a widget: the page's head is not the pack's, and what is there at once moves nothing later. */
export function style(text) {
  return html('style', { textContent: text })
}

const SHAPES = {
  grip: 'M6 3.5h.01M10 3.5h.01M6 8h.01M10 8h.01M6 12.5h.01M10 12.5h.01',
  star: 'm8 2 1.8 3.9 4.2.5-3.1 2.9.8 4.2L8 11.4l-3.7 2.1.8-4.2L2 6.4l4.2-.5z',
  plus: 'M8 3v10M3 8h10',
  more: 'M3.5 8h.01M8 8h.01M12.5 8h.01',
  left: 'M10 4 6 8l4 4',
  right: 'm6 4 4 4-4 4',
  link: 'M6.7 9.3l2.6-2.6M7.2 4.9l1.4-1.4a2.75 2.75 0 0 1 3.9 3.9l-1.4 1.4M8.8 11.1l-1.4 1.4a2.75 2.75 0 0 1-3.9-3.9l1.4-1.4',
  unlink: 'M7.2 4.9l1.4-1.4a2.75 2.75 0 0 1 3.9 3.9l-1.4 1.4M8.8 11.1l-1.4 1.4a2.75 2.75 0 0 1-3.9-3.9l1.4-1.4M3 3l1.5 1.5M13 13l-1.5-1.5'
}

/** A line drawing of 16 x 16 units in the colour of the text. */
export function icon(name) {
  const attributes = { viewBox: '0 0 16 16', 'aria-hidden': 'true', class: 'styledelta-icon' }
  return svg('svg', attributes, svg('path', { d: SHAPES[name] }))
}
