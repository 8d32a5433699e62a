import { html, icon } from '../shared/dom.js'
import { openMenu } from '../shared/menu.js'
import { openPopup } from '../shared/popup.js'
import { translate } from '../shared/text.js'
import { commit } from '../shared/undo.js'
import { openLoraInfo } from './lora_info.js'
import { blockPresets, isKnown, shownName } from './lora_names.js'
import { pickLora } from './lora_picker.js'
import { LIMIT, strengthControl } from './strength.js'

const TEXT = {
  en: {
    row: (number) => `Row ${number}`,
    handle: 'Drag to move. Alt+Up and Alt+Down also move it, Delete removes it.',
    on: 'Switched on',
    choose: 'Choose a LoRA',
    missing: 'This file is not in models/loras.',
    both: 'Strength for model and CLIP',
    model: 'Model strength',
    clip: 'CLIP strength',
    low: 'Strength for low noise, for Split High and Low Noise',
    linked: 'One strength for model and CLIP. Click to set them separately.',
    apart: 'Two strengths. Click to use the model strength for both.',
    preset: 'Part of the model that the LoRA acts on',
    rules: 'and block weights',
    more: 'More for this row',
    up: 'Move up',
    down: 'Move down',
    turnOn: 'Switch on',
    turnOff: 'Switch off',
    solo: 'Only this row on',
    soloOff: 'Restore the other rows',
    info: 'About this LoRA...',
    copy: 'Duplicate',
    blocks: 'Block weights...',
    addLow: 'Own strength for low noise',
    removeLow: 'One strength for high and low noise',
    remove: 'Delete',
    blocksTitle: 'Block weights',
    blocksHint: 'Added to the preset, such as input.4=0.5, attn2=0',
    done: 'Done'
  },
  zh: {
    row: (number) => `第 ${number} 行`,
    handle: '拖动以移动。Alt 加上下方向键也可移动，Delete 删除。',
    on: '已打开',
    choose: '选择 LoRA',
    missing: 'models/loras 中没有这个文件。',
    both: '模型和 CLIP 的强度',
    model: '模型强度',
    clip: 'CLIP 强度',
    low: '低噪强度，用于“拆分高噪与低噪”',
    linked: '模型和 CLIP 共用一个强度。点击以分开设置。',
    apart: '两个强度。点击后都使用模型强度。',
    preset: 'LoRA 作用于模型的哪一部分',
    rules: '以及分层权重',
    more: '此行的更多操作',
    up: '上移',
    down: '下移',
    turnOn: '打开',
    turnOff: '关闭',
    solo: '只打开此行',
    soloOff: '恢复其他行',
    info: 'LoRA 信息...',
    copy: '复制此行',
    blocks: '分层权重...',
    addLow: '单独设置低噪强度',
    removeLow: '高噪和低噪共用一个强度',
    remove: '删除',
    blocksTitle: '分层权重',
    blocksHint: '接在预设之后，例如 input.4=0.5, attn2=0',
    done: '完成'
  }
}
const ALL_BLOCKS = 'all blocks'

/**
 * One row of the list. row: its object of the JSON list, which is changed in place; an absent clip follows model.
 *
 * list: {node, index(row), length(), move(row, step), duplicate(row), remove(row), solo(row), isSolo(row), startDrag(row, event),
 * write()}; write is called after every change. Returns {element, handle, update}.
 */
export function loraRow(row, list) {
  const text = translate(TEXT)

  function change(values) {
    for (const [key, value] of Object.entries(values)) {
      if (value === undefined) delete row[key]
      else row[key] = value
    }
    list.write()
    commit()
    update()
  }

  const handle = button('styledelta-handle', text.handle, icon('grip'))
  handle.addEventListener('pointerdown', (event) => event.button === 0 && list.startDrag(row, event))
  const toggle = button('styledelta-switch', text.on)
  toggle.setAttribute('role', 'switch')
  toggle.addEventListener('click', () => change({ on: !isOn(row) }))

  const folder = html('span', { className: 'styledelta-folder' })
  const file = html('span', { className: 'styledelta-file' })
  const name = button('styledelta-name', text.choose, folder, file)
  name.setAttribute('aria-haspopup', 'listbox')
  name.addEventListener('click', () => pickLora(name, row.name, list.node, (chosen) => change({ name: chosen })))

  const strengths = html('div', { className: 'styledelta-strengths' })
  let controls = []
  let shownStrengths = ''
  const link = button('styledelta-link', '')
  link.addEventListener('click', () => change({ clip: isLinked(row) ? modelStrength(row) : undefined }))

  const preset = html('select', {
    className: 'styledelta-preset',
    attributes: { 'aria-label': text.preset },
    onchange: () => change({ preset: preset.value === ALL_BLOCKS ? undefined : preset.value })
  })
  const more = button('styledelta-more', text.more, icon('more'))
  more.setAttribute('aria-haspopup', 'menu')
  more.addEventListener('click', () => openRowMenu())

  const root = html(
    'div',
    { className: 'styledelta-row', attributes: { role: 'listitem' } },
    handle, toggle, name, strengths, link, preset, more
  )
  // Some systems ask for the menu while the button is still down, and its release would close what is open by then.
  let held = null
  root.addEventListener('contextmenu', (event) => {
    event.preventDefault()
    event.stopPropagation()
    const at = { x: event.clientX, y: event.clientY }
    if (event.buttons) held = at
    else openRowMenu(at)
  })
  root.addEventListener('pointerdown', () => (held = null))
  root.addEventListener('pointerup', () => {
    const at = held
    held = null
    if (at) setTimeout(() => openRowMenu(at))
  })
  root.addEventListener('keydown', (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key]
    const isMove = step && event.altKey && event.target !== preset
    const isDelete = event.key === 'Delete' && event.target === handle
    if (isMove) list.move(row, step)
    if (isDelete) list.remove(row)
    if (!isMove && !isDelete) return
    event.preventDefault()
    event.stopPropagation()
  })

  function openRowMenu(at) {
    const index = list.index(row)
    openMenu(more, text.row(index + 1), [
      { label: isOn(row) ? text.turnOff : text.turnOn, run: () => change({ on: !isOn(row) }) },
      { label: list.isSolo(row) ? text.soloOff : text.solo, isOff: list.length() < 2, run: () => list.solo(row) },
      { label: text.info, isOff: !isKnown(row.name ?? ''), run: () => openLoraInfo(more, row.name) },
      { label: text.up, isOff: index === 0, run: () => list.move(row, -1) },
      { label: text.down, isOff: index === list.length() - 1, run: () => list.move(row, 1) },
      { label: text.copy, run: () => list.duplicate(row) },
      { label: text.blocks, run: editBlocks },
      { label: hasLow(row) ? text.removeLow : text.addLow, run: toggleLow },
      { label: text.remove, run: () => list.remove(row) }
    ], at)
  }

  function toggleLow() {
    change({ low: hasLow(row) ? undefined : modelStrength(row) })
  }

  function editBlocks() {
    const area = html('textarea', {
      className: 'styledelta-blocks',
      rows: 4,
      spellcheck: false,
      value: row.blocks ?? '',
      placeholder: text.blocksHint,
      attributes: { 'aria-label': text.blocksTitle }
    })
    const done = html('button', { type: 'button', className: 'styledelta-button', onclick: () => close() }, text.done)
    const title = html('div', { className: 'styledelta-blocks-title' }, text.blocksTitle, done)
    const close = openPopup(preset, html('div', {}, title, area), {
      label: text.blocksTitle,
      minWidth: 300,
      onClose: (isEscaped) => !isEscaped && change({ blocks: area.value.trim() || undefined })
    })
    area.focus({ preventScroll: true })
  }

  /** Which strengths the row has beside the model's. */
  function strengthKeys() {
    return `model${isLinked(row) ? '' : ' clip'}${hasLow(row) ? ' low' : ''}`
  }

  function makeStrengths() {
    const set = (key) => (value) => {
      row[key] = value
      list.write()
    }
    const model = { get: () => modelStrength(row), set: set('model'), done: commit }
    const clip = { letter: 'C', label: text.clip, get: () => Number(row.clip), set: set('clip'), done: commit }
    const low = { letter: 'L', label: text.low, get: () => Number(row.low), set: set('low'), done: commit }
    shownStrengths = strengthKeys()
    controls = isLinked(row)
      ? [strengthControl({ letter: '', label: text.both, ...model })]
      : [strengthControl({ letter: 'M', label: text.model, ...model }), strengthControl(clip)]
    if (hasLow(row)) controls.push(strengthControl(low))
    strengths.replaceChildren(...controls.map((control) => control.element))
  }

  function update() {
    const label = text.row(list.index(row) + 1)
    root.setAttribute('aria-label', `${label}: ${row.name ?? ''}`)
    root.classList.toggle('styledelta-off', !isOn(row))
    handle.setAttribute('aria-label', `${label}. ${text.handle}`)
    toggle.setAttribute('aria-checked', isOn(row))
    showName()
    if (shownStrengths !== strengthKeys()) makeStrengths()
    for (const control of controls) control.update()
    showLink()
    showPreset()
  }

  function showName() {
    const chosen = String(row.name ?? '')
    const isMissing = chosen !== '' && !isKnown(chosen)
    const [folderText, fileText] = shownName(chosen)
    folder.textContent = folderText
    file.textContent = fileText || text.choose
    name.title = isMissing ? `${chosen}\n${text.missing}` : chosen
    name.setAttribute('aria-label', name.title || text.choose)
    name.classList.toggle('styledelta-missing', isMissing)
    name.classList.toggle('styledelta-empty', chosen === '')
  }

  function showLink() {
    const words = isLinked(row) ? text.linked : text.apart
    link.replaceChildren(icon(isLinked(row) ? 'link' : 'unlink'))
    link.title = words
    link.setAttribute('aria-label', words)
    link.setAttribute('aria-pressed', isLinked(row))
  }

  function showPreset() {
    const chosen = row.preset ?? ALL_BLOCKS
    const known = blockPresets()
    const choices = known.includes(chosen) ? known : [...known, chosen]
    preset.replaceChildren(...choices.map((choice) => html('option', { value: choice }, choice)))
    preset.value = chosen
    preset.title = row.blocks ? `${chosen} ${text.rules}: ${row.blocks}` : `${text.preset}: ${chosen}`
    preset.classList.toggle('styledelta-missing', !known.includes(chosen))
    preset.classList.toggle('styledelta-plain', chosen === ALL_BLOCKS && !row.blocks)
    preset.classList.toggle('styledelta-has-blocks', Boolean(row.blocks))
  }

  update()
  return { element: root, handle, update }
}

export function isOn(row) {
  return row.on !== false
}

/** Multiply the strengths that a row has, within the limits of strengths. */
export function scaleRow(row, factor) {
  for (const key of ['model', 'clip', 'low']) {
    if (key !== 'model' && row[key] === undefined) continue
    const scaled = Number(row[key] ?? 1) * factor
    row[key] = Math.round(Math.max(-LIMIT, Math.min(LIMIT, scaled)) * 1e4) / 1e4
  }
}

function isLinked(row) {
  return row.clip === undefined
}

/** Whether a row of a pair for Wan 2.2 has a strength of its own for the model of low noise. */
function hasLow(row) {
  return row.low !== undefined
}

function modelStrength(row) {
  return Number(row.model ?? 1)
}

function button(className, label, ...children) {
  return html('button', { type: 'button', className, title: label, attributes: { 'aria-label': label } }, ...children)
}
