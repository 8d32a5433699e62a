import { html, icon } from '../shared/dom.js'
import { translate } from '../shared/text.js'

const TEXT = {
  en: { less: 'Less', more: 'More', hint: 'Drag, click to type, or use the arrow keys; the wheel works once it has the focus. Shift: small steps.' },
  zh: { less: '减小', more: '增大', hint: '拖动、点击输入、方向键；获得焦点后可用滚轮。按住 Shift 为小步。' }
}
export const LIMIT = 100
const STEP = 0.05
const FINE_STEP = 0.01
// Pixels of one step, and before a press becomes a drag.
const DRAG_PIXELS = 5
const DRAG_START = 3
const PAUSE = 400

/**
 * A number from -100 to 100 that is dragged, stepped or typed.
 *
 * letter: shown before it. label: its name for screen readers. get(): the number. set(number): while it changes.
 * done(): after a change is over. Returns {element, update}.
 */
export function strengthControl({ letter, label, get, set, done }) {
  const text = translate(TEXT)
  const shown = html('span', { className: 'styledelta-strength-value' })
  const root = html(
    'div',
    {
      className: 'styledelta-strength',
      tabIndex: 0,
      title: `${label}. ${text.hint}`,
      attributes: { role: 'spinbutton', 'aria-label': label, 'aria-valuemin': -LIMIT, 'aria-valuemax': LIMIT }
    },
    arrow('left', text.less, -1),
    html('span', { className: 'styledelta-strength-letter' }, letter),
    shown,
    arrow('right', text.more, 1)
  )
  let waiting = 0
  let drag = null

  function arrow(name, words, direction) {
    return html(
      'span',
      {
        className: 'styledelta-strength-arrow',
        title: words,
        attributes: { 'aria-hidden': 'true' },
        onclick: (event) => step(direction, event.shiftKey)
      },
      icon(name)
    )
  }

  function update() {
    shown.textContent = format(get())
    root.setAttribute('aria-valuenow', get())
    root.classList.toggle('styledelta-zero', get() === 0)
  }

  function change(number) {
    const next = Math.max(-LIMIT, Math.min(LIMIT, number))
    if (next === get()) return
    set(next)
    update()
    // Many small changes, as of the wheel, are one for the editor's undo.
    clearTimeout(waiting)
    waiting = setTimeout(finish, PAUSE)
  }

  function finish() {
    clearTimeout(waiting)
    if (waiting) done()
    waiting = 0
  }

  function step(direction, isFine) {
    const size = isFine ? FINE_STEP : STEP
    change(round(get() + direction * size))
  }

  function edit(first = '') {
    const input = html('input', {
      type: 'text',
      inputMode: 'decimal',
      className: 'styledelta-strength-input',
      value: first || format(get()),
      attributes: { 'aria-label': label }
    })
    let isOpen = true
    function end(keeps, refocus) {
      if (!isOpen) return
      isOpen = false
      const number = Number(input.value.trim().replace(',', '.'))
      input.remove()
      if (keeps && input.value.trim() && Number.isFinite(number)) change(number)
      finish()
      if (refocus) root.focus({ preventScroll: true })
    }
    input.addEventListener('keydown', (event) => {
      event.stopPropagation()
      if (event.key === 'Enter') end(true, true)
      if (event.key === 'Escape') end(false, true)
    })
    input.addEventListener('blur', () => end(true, false))
    input.addEventListener('pointerdown', (event) => event.stopPropagation())
    root.append(input)
    input.focus({ preventScroll: true })
    if (!first) input.select()
  }

  root.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const direction = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key]
    if (direction) step(direction, event.shiftKey)
    else if (event.key === 'Enter') edit()
    else if (/^[-+.,\d]$/.test(event.key)) edit(event.key)
    // These would delete the node.
    else if (event.key !== 'Delete' && event.key !== 'Backspace') return
    event.preventDefault()
    event.stopPropagation()
  })
  // The editor leaves the wheel to elements with this mark; only the focused one has it, so that the graph zooms elsewhere.
  root.addEventListener('focus', () => root.setAttribute('data-capture-wheel', 'true'))
  root.addEventListener('blur', () => {
    root.removeAttribute('data-capture-wheel')
    finish()
  })
  root.addEventListener(
    'wheel',
    (event) => {
      const isMine = document.activeElement === root && !event.ctrlKey && !event.metaKey
      if (!isMine) return
      event.preventDefault()
      event.stopPropagation()
      // With Shift, browsers report the wheel as horizontal.
      step((event.deltaY || event.deltaX) < 0 ? 1 : -1, event.shiftKey)
    },
    { passive: false }
  )

  root.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 || event.target.closest('.styledelta-strength-arrow, input')) return
    root.setPointerCapture(event.pointerId)
    drag = { x: event.clientX, from: get(), isMoved: false }
  })
  root.addEventListener('pointermove', (event) => {
    if (!drag) return
    event.stopPropagation()
    const pixels = event.clientX - drag.x
    drag.isMoved ||= Math.abs(pixels) >= DRAG_START
    if (!drag.isMoved) return
    root.classList.add('styledelta-dragging')
    change(round(drag.from + Math.round(pixels / DRAG_PIXELS) * (event.shiftKey ? FINE_STEP : STEP)))
  })
  root.addEventListener('pointerup', () => {
    if (!drag) return
    const { isMoved } = drag
    endDrag()
    if (!isMoved) edit()
  })
  root.addEventListener('pointercancel', () => {
    if (drag) change(drag.from)
    endDrag()
  })

  function endDrag() {
    drag = null
    root.classList.remove('styledelta-dragging')
    finish()
  }

  update()
  return { element: root, update }
}

/** Two digits, or as many as it has. */
function format(number) {
  return /\.\d{3}/.test(String(number)) ? String(number) : number.toFixed(2)
}

function round(number) {
  return Math.round(number * 100) / 100
}
