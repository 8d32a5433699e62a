/** An element with properties, attributes (in `attributes`), listeners (on...) and children. */
export function element(tag, { attributes = {}, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  made.append(...children)
  return made
}

/** Load a style sheet that lies beside the modules, once. */
export function loadStyle(name) {
  const { href } = new URL(name, import.meta.url)
  if (!document.head.querySelector(`link[href="${href}"]`)) {
    document.head.append(element('link', { rel: 'stylesheet', href }))
  }
}

const SHAPES = {
  grip: 'M6 3.5h.01M10 3.5h.01M6 8h.01M10 8h.01M6 12.5h.01M10 12.5h.01',
  plus: 'M8 3v10M3 8h10',
  more: 'M3.5 8h.01M8 8h.01M12.5 8h.01',
  left: 'M10 4 6 8l4 4',
  right: 'm6 4 4 4-4 4',
  link: 'M6.7 9.3l2.6-2.6M7.2 4.9l1.4-1.4a2.75 2.75 0 0 1 3.9 3.9l-1.4 1.4M8.8 11.1l-1.4 1.4a2.75 2.75 0 0 1-3.9-3.9l1.4-1.4',
  unlink: 'M7.2 4.9l1.4-1.4a2.75 2.75 0 0 1 3.9 3.9l-1.4 1.4M8.8 11.1l-1.4 1.4a2.75 2.75 0 0 1-3.9-3.9l1.4-1.4M3 3l1.5 1.5M13 13l-1.5-1.5'
}

/** A line drawing of 16 x 16 units in the colour of the text. */
export function icon(name) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  made.setAttribute('viewBox', '0 0 16 16')
  made.setAttribute('aria-hidden', 'true')
  made.classList.add('styledelta-icon')
  const path = document.createElementNS(made.namespaceURI, 'path')
  path.setAttribute('d', SHAPES[name])
  made.append(path)
  return made
}
