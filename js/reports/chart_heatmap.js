import { svg } from '../shared/dom.js'
import { FONT, fitted, text, textWidth } from './chart_axes.js'

const STOPS = 5
const LOWEST_CELL = 16
const HIGHEST_CELL = 30
const NARROWEST_CELL = 14
const WIDEST_CELL = 64
const NUMBER_WIDTH = 28

/** A table as colours. The cursor stands on a cell. */
export function drawHeatmap(chart, _, width, height) {
  const { rows, columns, values, low } = chart
  const left = 8 + Math.min(Math.max(...rows.map(textWidth)), width * 0.4)
  const cellWidth = Math.min(Math.max((width - left - 4) / columns.length, NARROWEST_CELL), WIDEST_CELL)
  const upright = Math.max(...columns.map(textWidth)) > cellWidth
  const top = upright ? Math.max(...columns.map(textWidth)) + 8 : FONT + 8
  const cellHeight = Math.min(Math.max(Math.floor((height - top) / rows.length), LOWEST_CELL), HIGHEST_CELL)
  const place = (row, column) => [left + cellWidth * column, top + cellHeight * row]
  const outline = svg('rect', { class: 'outline', width: cellWidth - 1, height: cellHeight - 1, visibility: 'hidden' })

  const element = svg(
    'svg',
    { class: low < 0 ? 'signed' : '', width: Math.max(left + cellWidth * columns.length + 2, width), height: top + cellHeight * rows.length + 2 },
    ...columns.map((name, column) => columnName(name, ...place(0, column))),
    ...rows.map((name, row) => text(fitted(name, left - 8), left - 5, place(row, 0)[1] + cellHeight / 2 + 3.5, 'end', 'name')),
    ...values.flatMap((line, row) => line.map((value, column) => cell(value, ...place(row, column)))),
    outline
  )

  function columnName(name, x, y) {
    const middle = x + cellWidth / 2
    if (!upright) return text(name, middle, y - 5, 'middle', 'name')
    const label = text(name, middle + 3.5, y - 5, 'start', 'name')
    label.setAttribute('transform', `rotate(-90 ${middle + 3.5} ${y - 5})`)
    return label
  }

  function cell(value, x, y) {
    if (value === null) return svg('rect', { class: 'absent', x, y, width: cellWidth - 1, height: cellHeight - 1 })
    const part = (value - low) / (1 - low)
    const rect = svg('rect', { class: 'cell', x, y, width: cellWidth - 1, height: cellHeight - 1 })
    rect.style.fill = colour(part)
    if (cellWidth < NUMBER_WIDTH) return rect
    const strong = low < 0 ? Math.abs(value) > 0.6 : part > 0.5
    // Adding 0 takes the sign off a number that is rounded to 0.
    const number = (Number(value.toFixed(2)) + 0).toFixed(2)
    return svg('g', {}, rect, text(number, x + cellWidth / 2, y + cellHeight / 2 + 3, 'middle', strong ? 'strong' : 'weak'))
  }

  return {
    element,
    rows: rows.length,
    columns: columns.length,
    locate(x, y) {
      const [row, column] = [Math.floor((y - top) / cellHeight), Math.floor((x - left) / cellWidth)]
      return values[row]?.[column] === undefined ? null : [row, column]
    },
    show([row, column]) {
      const [x, y] = place(row, column)
      outline.setAttribute('x', x)
      outline.setAttribute('y', y)
      outline.setAttribute('visibility', 'visible')
      const content = `${rows[row]}, ${columns[column]}: ${values[row][column] ?? '–'}`
      return { text: content, spoken: content, span: [y, cellHeight] }
    },
    hide: () => outline.setAttribute('visibility', 'hidden')
  }
}

/** The colour of a part 0..1 of the scale, between two neighbouring stops of the style sheet. */
function colour(part) {
  const place = Math.min(Math.max(part, 0), 1) * (STOPS - 1)
  const step = Math.min(Math.floor(place), STOPS - 2)
  const share = Math.round(100 * (place - step))
  return `color-mix(in srgb, var(--sd-heat-${step + 1}) ${share}%, var(--sd-heat-${step}))`
}
