import { svg } from '../shared/dom.js'
import { FONT, drawXAxis, fitted, linearAxis, short, text, textWidth } from './chart_axes.js'

const LOWEST_ROW = 16
const HIGHEST_ROW = 26
const RIGHT = 12

/** Horizontal bars from 0. The cursor stands on one of them. */
export function drawBars(chart, _, width, height) {
  const room = height - 2 * FONT - 14
  const row = Math.min(Math.max(Math.floor(room / chart.names.length), LOWEST_ROW), HIGHEST_ROW)
  const bottom = row * chart.names.length
  const left = 8 + Math.min(Math.max(...chart.names.map(textWidth)), width * 0.45)
  const labels = chart.values.map(short)
  const right = Math.max(width - RIGHT - Math.max(...labels.map(textWidth)), left + 40)
  const axis = linearAxis([0, Math.max(...chart.values) || 1], left, right, Math.max(2, (right - left) / 55))
  const bars = chart.values.map((value, i) =>
    svg('rect', { class: 'bar', x: left, y: row * i + 3, width: Math.max(axis.place(value) - left, 0.5), height: row - 6, rx: 2 })
  )
  const highlight = svg('rect', { class: 'highlight', x: 0, width, height: row, visibility: 'hidden' })
  const element = svg(
    'svg',
    { width, height: bottom + 2 * FONT + 14 },
    highlight,
    drawXAxis(axis, chart.unit, left, right, 0, bottom),
    ...bars,
    ...chart.names.map((name, i) => text(fitted(name, left - 8), left - 5, row * (i + 0.5) + 3.5, 'end', 'name')),
    ...labels.map((label, i) => text(label, axis.place(chart.values[i]) + 4, row * (i + 0.5) + 3.5, 'start', 'name'))
  )
  return {
    element,
    rows: chart.names.length,
    columns: 1,
    locate: (_, y) => (y < bottom ? [Math.max(Math.floor(y / row), 0), 0] : null),
    show([index]) {
      highlight.setAttribute('y', row * index)
      highlight.setAttribute('visibility', 'visible')
      const content = `${chart.names[index]}: ${chart.values[index]} ${chart.unit}`
      return { text: content, spoken: content, span: [row * index, row] }
    },
    hide: () => highlight.setAttribute('visibility', 'hidden')
  }
}
