import { svg } from '../shared/dom.js'
import { translate } from '../shared/text.js'
import { FONT, countAxis, drawXAxis, drawYAxis, line, linearAxis, logAxis, short, textWidth } from './chart_axes.js'

const TEXTS = {
  en: { kept: (name, rank) => `${name} (rank ${rank})` },
  zh: { kept: (name, rank) => `${name}（秩 ${rank}）` }
}
const COLOURS = 6
const DASHES = ['', '7 3', '2 3']
const TOP = 8
const RIGHT = 10
const MOST_DOTS = 64

/** The colour of a series, which the style sheet gives for light and dark themes, and its dash. */
export function seriesStyle(index) {
  const colour = `var(--sd-series-${index % COLOURS})`
  return { colour, dash: DASHES[Math.floor(index / COLOURS) % DASHES.length] }
}

/** What a line is called: its name with the rank kept, and what its axis shows where it has no name. */
export function seriesName(chart, series) {
  const name = series.name || chart.y_label
  return series.cut === undefined ? name : translate(TEXTS).kept(name, series.cut)
}

/** Lines over one axis: spectra and curves. The cursor stands at one of the x of the visible lines. */
export function drawLines(chart, { hidden, log }, width, height) {
  const shown = chart.series.map((series, index) => ({ ...series, index })).filter(({ index }) => !hidden.has(index))
  const bottom = Math.max(height - 2 * FONT - 14, TOP + 60)
  // The axes stay as they are when a line is hidden, so that what is left can be compared with before.
  const values = [...chart.series.flatMap((series) => series.y), ...(chart.mark ? [chart.mark[1]] : [])]
  const yAxis = (log ? logAxis : linearAxis)(chart.log && !log ? [0, ...values] : values, bottom, TOP, Math.max(2, (bottom - TOP) / 30))
  const left = 8 + Math.max(...yAxis.ticks.map((tick) => textWidth(short(tick))))
  const right = width - RIGHT
  const all = [...chart.series.flatMap((series) => series.x), ...(chart.mark ? [chart.mark[0]] : [])]
  const steps = Math.max(2, (right - left) / 55)
  const xAxis = chart.log ? countAxis(Math.max(...all), left, right, steps) : linearAxis(all, left, right, steps)
  const xs = [...new Set(shown.flatMap((series) => series.x))].sort((a, b) => a - b)

  const cursor = svg('g', { class: 'cursor' })
  const element = svg(
    'svg',
    { width, height: bottom + 2 * FONT + 14 },
    drawXAxis(xAxis, chart.x_label, left, right, TOP, bottom),
    drawYAxis(yAxis, left, right),
    ...shown.map((series) => drawSeries(series, xAxis, yAxis)),
    ...shown.filter((series) => series.cut !== undefined).map((series) => drawCut(series, xAxis)),
    ...(chart.mark ? [drawMark(chart.mark, xAxis, yAxis, left, bottom)] : []),
    cursor
  )

  function drawCut(series, axis) {
    const x = Math.min(axis.place(series.cut + 0.5), right)
    const mark = line('cut', x, TOP, x, bottom)
    mark.style.stroke = seriesStyle(series.index).colour
    return mark
  }

  return {
    element,
    rows: 1,
    columns: xs.length,
    locate: (x) => [0, nearest(xs, xAxis, x)],
    show([, column]) {
      const x = xs[column]
      const points = shown.map((series) => [series, series.y[series.x.indexOf(x)]]).filter(([, y]) => y !== undefined)
      cursor.replaceChildren(
        line('cross', xAxis.place(x), TOP, xAxis.place(x), bottom),
        ...points.map(([series, y]) => dot(xAxis.place(x), yAxis.place(y), 3.5, series.index))
      )
      const values = new Map(points.map(([series, y]) => [series.index, String(y)]))
      const listed = points.map(([series, y]) => (chart.series.length > 1 ? `${seriesName(chart, series)}: ${y}` : y))
      return { text: `${chart.x_label} ${x}`, values, spoken: `${chart.x_label} ${x}: ${listed.join(', ')}` }
    },
    hide: () => cursor.replaceChildren()
  }
}

function drawSeries(series, xAxis, yAxis) {
  const { colour, dash } = seriesStyle(series.index)
  const points = series.x.map((x, i) => [xAxis.place(x), yAxis.place(series.y[i])])
  const path = svg('polyline', { class: 'series', points: points.map((point) => point.join()).join(' '), 'stroke-dasharray': dash })
  path.style.stroke = colour
  const dots = points.length <= MOST_DOTS ? points.map(([x, y]) => dot(x, y, 1.8, series.index)) : []
  return svg('g', {}, path, ...dots)
}

function drawMark([x, y], xAxis, yAxis, left, bottom) {
  const [px, py] = [xAxis.place(x), yAxis.place(y)]
  return svg('g', { class: 'mark' }, line('', left, py, px, py), line('', px, py, px, bottom), svg('circle', { cx: px, cy: py, r: 5 }))
}

function dot(cx, cy, r, index) {
  const circle = svg('circle', { cx, cy, r })
  circle.style.fill = seriesStyle(index).colour
  return circle
}

function nearest(xs, axis, pixel) {
  const distances = xs.map((x) => Math.abs(axis.place(x) - pixel))
  return distances.indexOf(Math.min(...distances))
}
