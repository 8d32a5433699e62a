import { html } from '../shared/dom.js'
import { openText, saveText } from '../shared/files.js'
import { openMenu } from '../shared/menu.js'
import { openPopup } from '../shared/popup.js'
import { translate } from '../shared/text.js'

const TEXT = {
  en: {
    menu: 'The whole list',
    scale: 'Multiply all strengths...',
    factor: 'Multiply all strengths by',
    apply: 'Apply',
    sort: 'Sort by name',
    save: 'Save the list as a file...',
    load: 'Load a list from a file...',
    unreadable: 'This file does not contain a LoRA list: it must be a JSON list of rows, as this menu saves it.'
  },
  zh: {
    menu: '整个列表',
    scale: '所有强度乘以...',
    factor: '所有强度乘以',
    apply: '应用',
    sort: '按名称排序',
    save: '把列表保存为文件...',
    load: '从文件加载列表...',
    unreadable: '文件中没有 LoRA 列表：它必须是 JSON 行列表，就像这个菜单保存的那样。'
  }
}
const FILE = 'lora_list.json'
const MOST_BYTES = 1_000_000

/**
 * Open the menu of the whole list. list: {length(), scale(factor), sort(), asFile(), replace(text)}; replace answers whether the
 * text is a list.
 */
export function openListMenu(anchor, list) {
  const text = translate(TEXT)
  const isOff = !list.length()
  openMenu(anchor, text.menu, [
    { label: text.scale, isOff, run: () => askFactor(anchor, list, text) },
    { label: text.sort, isOff: list.length() < 2, run: () => list.sort() },
    { label: text.save, isOff, run: () => saveText(FILE, list.asFile()) },
    { label: text.load, run: () => openText('.json,.txt', MOST_BYTES, (content) => load(anchor, list, content, text)) }
  ])
}

function load(anchor, list, content, text) {
  if (content !== null && list.replace(content)) return
  openPopup(anchor, html('div', { className: 'styledelta-picker-note' }, text.unreadable), { label: text.load })
}

function askFactor(anchor, list, text) {
  const input = html('input', { type: 'text', inputMode: 'decimal', value: '1', attributes: { 'aria-label': text.factor } })
  const form = html(
    'form',
    { className: 'styledelta-factor' },
    html('span', {}, text.factor),
    input,
    html('button', { type: 'submit', className: 'styledelta-button' }, text.apply)
  )
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const factor = Number(input.value.trim().replace(',', '.'))
    if (!input.value.trim() || !Number.isFinite(factor)) return input.select()
    close()
    list.scale(factor)
  })
  const close = openPopup(anchor, form, { label: text.factor })
  input.focus({ preventScroll: true })
  input.select()
}
