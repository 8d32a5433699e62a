import { html, keepPointer, readStyle, style } from '../shared/dom.js'
import { translate } from '../shared/text.js'
import { chartView, scrolls } from './chart_view.js'
import { inLanguage } from './chart_words.js'
import { reportText } from './report_text.js'

const TEXTS = {
  en: {
    empty: 'Run to see the report.',
    open: 'Show the report',
    close: 'Hide',
    unreadable: 'The charts could not be read.',
    charts: 'Charts'
  },
  zh: { empty: '运行后在此显示报告。', open: '显示报告', close: '隐藏', unreadable: '无法读取图表。', charts: '图表' }
}

const STYLE = await readStyle('reports/report_panel.css')
// Heights in the units of the graph.
const EMPTY_HEIGHT = 34
const TEXT_HEIGHT = 150
const CHART_HEIGHT = 360

/**
 * The panel of a node: tabs of charts, notes, and the report as text.
 *
 * Returns {element, height(), heightOpen(), show(output), setOpen(open), remove()}: heights are what it needs now and when open,
 * show takes the `ui` of a node's output. It is closed at first. onHeight(change) is called when it needs more or less.
 */
export function reportView(onHeight) {
  const texts = translate(TEXTS)
  const sheet = style(STYLE)
  const element = html('div', { className: 'styledelta-panel widget-expands' }, quiet(texts.empty), sheet)
  let views = []
  let active = 0
  let text = null
  let isOpen = false
  let parts = []
  const opener = button(texts.open, 'sd-opener', () => setOpen(true))
  const drawActive = () => isOpen && views[active]?.draw()
  const observer = new ResizeObserver(drawActive)
  observer.observe(element)
  keepEvents(element)
  element.style.setProperty('--sd-height', `${height()}px`)

  function height() {
    return text && isOpen ? heightOpen() : EMPTY_HEIGHT
  }

  function heightOpen() {
    return (views.length ? CHART_HEIGHT : 0) + (text.isOpen() ? TEXT_HEIGHT : EMPTY_HEIGHT)
  }

  function show({ text: lines = [], styledelta_charts: charts = [] }) {
    const { data, notes } = read(charts, texts)
    const open = text ? text.isOpen() : !data.length
    views = data.map(chartView)
    active = active < views.length ? active : 0
    text = reportText(lines.join('\n'), open, layOut, button(texts.close, 'sd-closer', () => setOpen(false)))
    const panels = views.map((view, index) => tabPanel(view, index === active))
    parts = []
    if (views.length > 1) parts.push(tabList(data, panels))
    parts.push(...panels)
    if (notes.length) parts.push(html('div', { className: 'sd-notes', textContent: notes.join('\n') }))
    if (lines.length) parts.push(text.element)
    setOpen(isOpen)
  }

  function setOpen(open) {
    isOpen = open
    opener.setAttribute('aria-expanded', String(open))
    element.replaceChildren(...(open ? parts : [opener]), sheet)
    layOut()
  }

  function layOut() {
    const before = parseFloat(element.style.getPropertyValue('--sd-height'))
    element.style.setProperty('--sd-height', `${height()}px`)
    onHeight(height() - before)
    drawActive()
  }

  function tabPanel(view, visible) {
    view.element.hidden = !visible
    view.element.setAttribute('role', 'tabpanel')
    return view.element
  }

  function tabList(data, panels) {
    const tabs = data.map((chart, index) =>
      html('button', { type: 'button', textContent: chart.tab, title: chart.title, attributes: { role: 'tab' }, onclick: () => choose(index) })
    )
    function choose(index) {
      active = index
      tabs.forEach((tab, i) => {
        tab.setAttribute('aria-selected', String(i === index))
        tab.tabIndex = i === index ? 0 : -1
        panels[i].hidden = i !== index
      })
      drawActive()
    }
    choose(active)
    const list = html('div', { className: 'sd-tabs', attributes: { role: 'tablist', 'aria-label': texts.charts } }, ...tabs)
    list.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
      if (!step) return
      event.stopPropagation()
      choose((active + step + tabs.length) % tabs.length)
      tabs[active].focus()
    })
    return list
  }

  return { element, height, heightOpen, show, setOpen, remove: () => observer.disconnect() }
}

/** The charts that are drawn, and the lines of those that are text. A chart that cannot be read is named, not swallowed. */
function read(charts, texts) {
  try {
    const all = charts.map((chart) => inLanguage(JSON.parse(chart)))
    const notes = all.filter((chart) => chart.kind === 'note').flatMap((chart) => chart.lines)
    return { data: all.filter((chart) => chart.kind !== 'note'), notes }
  } catch (error) {
    return { data: [], notes: [`${texts.unreadable} ${error.message}`] }
  }
}

function button(textContent, className, onclick) {
  return html('button', { type: 'button', className, textContent, onclick })
}

function quiet(text) {
  return html('div', { className: 'sd-quiet', textContent: text })
}

/**
 * What is done in the panel is not done to the graph: nodes are not dragged, and what scrolls here does not zoom there.
 *
 * Nodes 2.0 hears the wheel before the panel does, and spares elements with `data-capture-wheel`.
 */
function keepEvents(element) {
  keepPointer(element)
  element.addEventListener('wheel', (event) => {
    const scroller = event.target.closest('.sd-plot, pre')
    if (!event.ctrlKey && scroller && scrolls(scroller)) event.stopPropagation()
  })
}
