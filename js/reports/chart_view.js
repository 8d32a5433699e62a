import { html, svg } from '../shared/dom.js'
import { translate } from '../shared/text.js'
import { drawBars } from './chart_bars.js'
import { drawHeatmap } from './chart_heatmap.js'
import { drawLines, seriesName, seriesStyle } from './chart_lines.js'

const DRAW = { lines: drawLines, bars: drawBars, heatmap: drawHeatmap }
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }
const TEXTS = {
  en: {
    hint: 'Point at the chart, or focus it and use the arrow keys.',
    log: 'log',
    logTitle: 'Logarithmic or linear axis',
    series: 'Show or hide this line',
    chosen: 'chosen'
  },
  zh: {
    hint: '将指针移到图上，或聚焦后使用方向键查看数值。',
    log: '对数',
    logTitle: '对数坐标或线性坐标',
    series: '显示或隐藏这条线',
    chosen: '选定'
  }
}

/**
 * A chart with its title, legend and a line of numbers under the cursor.
 *
 * Returns {element, draw()}; draw fits the chart to the room that the element has.
 */
export function chartView(chart) {
  const texts = translate(TEXTS)
  const state = { hidden: new Set(), log: chart.log }
  let drawn = null
  let cursor = null

  const plot = html('div', { className: 'sd-plot' })
  const readout = html('div', { className: 'sd-readout' })
  const legend = html('div', { className: 'sd-legend' })
  const log = html('button', { type: 'button', className: 'sd-log', textContent: texts.log, title: texts.logTitle })
  const head = html('div', { className: 'sd-head' }, html('span', { className: 'sd-title', textContent: chart.title, title: chart.title }))
  if (chart.log) head.append(log)
  const element = html('div', { className: 'sd-chart' }, head, plot, legend, readout)
  const values = chart.kind === 'lines' ? fillLegend() : new Map()

  log.setAttribute('aria-pressed', String(state.log))
  log.addEventListener('click', () => {
    state.log = !state.log
    log.setAttribute('aria-pressed', String(state.log))
    draw()
  })
  plot.addEventListener('pointermove', (event) => moveTo(locate(event)))
  plot.addEventListener('pointerdown', (event) => moveTo(locate(event)))
  plot.addEventListener('pointerleave', () => moveTo(null))

  /** One entry a line: its colour, its name, and the number at the cursor. A single line without a name needs no button. */
  function fillLegend() {
    const found = new Map()
    chart.series.forEach((series, index) => {
      const { colour, dash } = seriesStyle(index)
      const swatch = svg('svg', { width: 18, height: 8, 'aria-hidden': true }, svg('line', { x1: 0, y1: 4, x2: 18, y2: 4, 'stroke-dasharray': dash }))
      swatch.style.stroke = colour
      const value = html('span', { className: 'sd-value' })
      const name = seriesName(chart, series)
      const parts = [swatch, html('span', { className: 'sd-name', textContent: name, title: name }), value]
      found.set(index, value)
      if (chart.series.length === 1) return legend.append(html('div', { className: 'sd-entry' }, ...parts))
      const entry = html('button', { type: 'button', className: 'sd-entry', title: texts.series, attributes: { 'aria-pressed': 'true' } }, ...parts)
      entry.addEventListener('click', () => toggle(index, entry))
      legend.append(entry)
    })
    if (chart.mark) legend.append(html('div', { className: 'sd-entry sd-chosen', textContent: `○ ${texts.chosen}: ${chart.mark.join(', ')}` }))
    return found
  }

  function toggle(index, entry) {
    const hide = !state.hidden.has(index)
    if (hide && state.hidden.size === chart.series.length - 1) return
    state.hidden[hide ? 'add' : 'delete'](index)
    entry.setAttribute('aria-pressed', String(!hide))
    draw()
  }

  /** The chart's own coordinates: the graph's zoom scales what the screen shows. */
  function locate(event) {
    const box = drawn?.element.getBoundingClientRect()
    if (!box?.width) return null
    const zoom = box.width / drawn.element.width.baseVal.value
    return drawn.locate((event.clientX - box.left) / zoom, (event.clientY - box.top) / zoom)
  }

  function moveTo(place) {
    cursor = place
    for (const value of values.values()) value.textContent = ''
    if (!place) {
      drawn?.hide()
      readout.textContent = texts.hint
      readout.classList.add('sd-hint')
      return null
    }
    const shown = drawn.show(place)
    readout.textContent = shown.text
    readout.title = shown.text
    readout.classList.remove('sd-hint')
    shown.values?.forEach((number, index) => (values.get(index).textContent = number))
    drawn.element.setAttribute('aria-valuenow', place[0] * drawn.columns + place[1] + 1)
    drawn.element.setAttribute('aria-valuetext', shown.spoken)
    return shown
  }

  function onKey(event) {
    const target = keyTarget(event.key)
    if (target === undefined) return
    event.preventDefault()
    event.stopPropagation()
    const shown = moveTo(target)
    if (shown?.span) reveal(...shown.span)
  }

  /** Where a key moves the cursor; null to take it away, undefined for keys that mean nothing here. */
  function keyTarget(key) {
    if (key === 'Escape') return cursor ? null : undefined
    if (key === 'Home') return [0, 0]
    if (key === 'End') return [drawn.rows - 1, drawn.columns - 1]
    if (!STEPS[key]) return undefined
    if (!cursor) return [0, 0]
    // In a single row or column all arrows move along it.
    const [down, right] = STEPS[key]
    if (drawn.rows === 1) return [0, within(cursor[1] + right - down, drawn.columns)]
    if (drawn.columns === 1) return [within(cursor[0] + down + right, drawn.rows), 0]
    return [within(cursor[0] + down, drawn.rows), within(cursor[1] + right, drawn.columns)]
  }

  function reveal(top, height) {
    if (top < plot.scrollTop) plot.scrollTop = top
    if (top + height > plot.scrollTop + plot.clientHeight) plot.scrollTop = top + height - plot.clientHeight
  }

  function draw() {
    if (!plot.clientWidth || !plot.clientHeight) return
    const focused = drawn && document.activeElement === drawn.element
    drawn = DRAW[chart.kind](chart, state, plot.clientWidth, plot.clientHeight)
    const attributes = { tabindex: 0, role: 'slider', 'aria-label': chart.title, 'aria-valuemin': 1, 'aria-valuemax': drawn.rows * drawn.columns, 'aria-valuenow': 1, 'aria-valuetext': texts.hint }
    for (const [name, value] of Object.entries(attributes)) drawn.element.setAttribute(name, value)
    drawn.element.addEventListener('keydown', onKey)
    plot.replaceChildren(drawn.element)
    plot.dataset.captureWheel = scrolls(plot)
    if (focused) drawn.element.focus()
    moveTo(cursor && cursor[0] < drawn.rows && cursor[1] < drawn.columns ? cursor : null)
  }

  moveTo(null)
  return { element, draw }
}

/** Whether there is more of an element than its box shows. */
export function scrolls(element) {
  return element.scrollHeight > element.clientHeight || element.scrollWidth > element.clientWidth
}

function within(index, count) {
  return Math.min(Math.max(index, 0), count - 1)
}
