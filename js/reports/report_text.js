import { copyText } from '../shared/clipboard.js'
import { html } from '../shared/dom.js'
import { translate } from '../shared/text.js'

const TEXTS = {
  en: { report: 'Report', copy: 'Copy', copied: 'Copied', failed: 'Press Ctrl+C' },
  zh: { report: '报告', copy: '复制', copied: '已复制', failed: '请按 Ctrl+C' }
}
const NOTICE = 1500

/** A report as text that opens and closes, with a button that copies it, and others. Returns {element, isOpen()}; onToggle() is called after each. */
export function reportText(content, open, onToggle, ...buttons) {
  const texts = translate(TEXTS)
  const body = html('pre', { textContent: content, tabIndex: 0, attributes: { 'aria-label': texts.report, 'data-capture-wheel': true } })
  const toggle = html('button', { type: 'button', className: 'sd-toggle', textContent: texts.report })
  const copy = html('button', { type: 'button', className: 'sd-copy', textContent: texts.copy })
  const element = html('div', { className: 'sd-text' }, html('div', { className: 'sd-text-head' }, toggle, copy, ...buttons), body)

  function show(opened) {
    open = opened
    toggle.setAttribute('aria-expanded', String(open))
    element.classList.toggle('sd-open', open)
    body.hidden = !open
  }

  toggle.addEventListener('click', () => {
    show(!open)
    onToggle()
  })
  copy.addEventListener('click', async () => {
    const copied = await copyText(content)
    if (!copied) {
      show(true)
      onToggle()
      getSelection().selectAllChildren(body)
    }
    copy.textContent = copied ? texts.copied : texts.failed
    setTimeout(() => (copy.textContent = texts.copy), NOTICE)
  })
  // The editor would copy the selected nodes instead of the selected text.
  body.addEventListener('copy', (event) => event.stopPropagation())
  show(open)
  return { element, isOpen: () => open }
}
