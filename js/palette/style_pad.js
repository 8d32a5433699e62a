import { html, svg } from '../shared/dom.js'
import { swatch } from './style_elements.js'
import { cornersOf, pointOf, weightsAt } from './style_weights.js'

const STEP = 0.05
const FINE_STEP = 0.01
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }

/**
 * A pad on which a point sets the weights of one to four styles, by pointer or by the arrow keys.
 * Returns {root, show}: show({styles, nameOf, pictureOf}) draws it; onWeights(weights) is called with what the user sets.
 */
export function stylePad(texts, onWeights) {
  const drawing = svg('svg', { viewBox: '0 0 100 100', preserveAspectRatio: 'none' })
  const point = html('div', { className: 'sd-point' })
  const field = html('div', { className: 'sd-field' }, drawing)
  const attributes = { role: 'slider', 'aria-label': texts.pad, 'aria-roledescription': texts.padRole, 'aria-valuemin': '0', 'aria-valuemax': '100' }
  const root = html('div', { className: 'sd-pad', tabIndex: 0, attributes }, field)
  let count = 0
  let position = [0.5, 0.5]

  function move(x, y) {
    if (count > 1) onWeights(weightsAt(count, x, y))
  }

  function follow(event) {
    const box = field.getBoundingClientRect()
    move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height)
  }

  root.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return
    root.setPointerCapture(event.pointerId)
    root.focus()
    follow(event)
  })
  root.addEventListener('pointermove', (event) => {
    if (root.hasPointerCapture(event.pointerId)) follow(event)
  })
  root.addEventListener('keydown', (event) => {
    const arrow = ARROWS[event.key]
    if (!arrow || event.ctrlKey || event.metaKey || event.altKey) return
    event.preventDefault()
    const step = event.shiftKey ? FINE_STEP : STEP
    // Beyond the triangle there is nothing: a step along its side is what remains.
    move(position[0] + arrow[0] * step, position[1] + arrow[1] * step)
  })

  function show({ styles, nameOf, pictureOf }) {
    count = styles.length
    const corners = cornersOf(count)
    const weights = styles.map((row) => row.weight)
    position = count ? pointOf(weights) : [0.5, 0.5]
    drawing.replaceChildren(...outline(corners), ...corners.map((corner, index) => ray(corner, position, weights[index])))
    place(point, position)
    const marks = corners.map((corner, index) => {
      const { style } = styles[index]
      const mark = html('div', { className: 'sd-corner' }, swatch(pictureOf(style), nameOf(style)))
      place(mark, corner)
      return mark
    })
    field.replaceChildren(...(count ? [drawing, ...marks, point] : [html('div', { className: 'sd-nothing' }, texts.empty)]))
    root.classList.toggle('sd-still', count < 2)
    root.setAttribute('aria-disabled', String(count < 2))
    root.setAttribute('aria-valuenow', String(count ? Math.round(weights[0] * 100) : 0))
    root.setAttribute('aria-valuetext', styles.map((row) => `${nameOf(row.style)}: ${row.weight}`).join(', ') || texts.empty)
  }

  return { root, show }
}

function place(part, [x, y]) {
  part.style.left = `${x * 100}%`
  part.style.top = `${y * 100}%`
}

function outline(corners) {
  if (corners.length < 2) return []
  // The square's corners come row by row, its outline goes round.
  const order = corners.length === 4 ? [0, 1, 3, 2] : corners.map((_, index) => index)
  return [svg('polygon', { points: order.map((index) => corners[index].map((part) => part * 100).join(',')).join(' ') })]
}

function ray(corner, position, weight) {
  const [[x1, y1], [x2, y2]] = [corner, position].map((place) => place.map((part) => part * 100))
  const line = svg('line', { x1, y1, x2, y2 })
  line.style.opacity = Math.min(Math.max(weight, 0), 1)
  return line
}
