import { copyText } from '../shared/clipboard.js'
import { html } from '../shared/dom.js'
import { openPopup } from '../shared/popup.js'
import { translate } from '../shared/text.js'
import { loraPicture, readLoraInfo } from './lora_files.js'
import { shownName } from './lora_names.js'

const TEXT = {
  en: {
    label: 'About the LoRA',
    base: 'Base model',
    resolution: 'Trained at',
    steps: 'Steps',
    words: 'Trigger words',
    copyWord: (word) => `Copy ${word}`,
    copyAll: 'Copy all',
    copied: 'Copied',
    failed: 'Press Ctrl+C',
    tags: 'Most frequent in its captions',
    nothing: 'There is no more information in the file or beside it.',
    picture: 'Picture beside the file'
  },
  zh: {
    label: 'LoRA 的已知信息',
    base: '基础模型',
    resolution: '训练分辨率',
    steps: '步数',
    words: '触发词',
    copyWord: (word) => `复制 ${word}`,
    copyAll: '全部复制',
    copied: '已复制',
    failed: '请按 Ctrl+C',
    tags: '训练描述中最常见的标签',
    nothing: '文件本身和旁边的文件都没有更多信息。',
    picture: '文件旁边的图片'
  }
}
const NOTICE = 1500

/** Show what is known of a LoRA file, without the network, in a box under an element. */
export async function openLoraInfo(anchor, name) {
  const text = translate(TEXT)
  const content = await readLoraInfo(name).then(
    (info) => infoPanel(name, info, text),
    (error) => html('div', { className: 'styledelta-picker-note' }, error.message)
  )
  // The row may have gone meanwhile.
  if (!anchor.isConnected) return
  openPopup(anchor, content, { label: text.label, className: 'styledelta-info' })
  content.focus({ preventScroll: true })
}

function infoPanel(name, info, text) {
  const [folder, file] = shownName(name)
  const facts = [
    [text.base, info.base_model],
    [text.resolution, info.resolution],
    [text.steps, info.steps]
  ].filter(([, value]) => value)
  const head = html(
    'div',
    { className: 'styledelta-info-head' },
    html('div', { className: 'styledelta-info-title' }, info.title || file),
    html('div', { className: 'styledelta-info-name' }, folder + file),
    html('dl', {}, ...facts.flatMap(([label, value]) => [html('dt', {}, label), html('dd', {}, value)]))
  )
  const top = html('div', { className: 'styledelta-info-top' }, ...(info.has_picture ? [picture(name, text)] : []), head)
  const panel = html('div', { tabIndex: -1 }, top, ...wordsPart(info.words, text), ...tagsPart(info.tags, text))
  if (!facts.length && !info.words.length && !info.tags.length) {
    panel.append(html('div', { className: 'styledelta-picker-note' }, text.nothing))
  }
  // The editor would copy the selected nodes instead of the selected text.
  panel.addEventListener('copy', (event) => event.stopPropagation())
  return panel
}

function picture(name, text) {
  return html('img', { src: loraPicture(name), alt: text.picture, className: 'styledelta-info-picture' })
}

function wordsPart(words, text) {
  if (!words.length) return []
  const chips = words.map((word) => chip(word, word, text.copyWord(word), text))
  const all = chip(text.copyAll, words.join(', '), text.copyAll, text)
  all.classList.add('styledelta-copy-all')
  return [
    html('div', { className: 'styledelta-info-label' }, text.words, ...(words.length > 1 ? [all] : [])),
    html('div', { className: 'styledelta-chips' }, ...chips)
  ]
}

function tagsPart(tags, text) {
  if (!tags.length) return []
  const chips = tags.map(([tag, count]) => {
    const made = chip(tag, tag, text.copyWord(tag), text)
    made.append(html('span', { className: 'styledelta-info-count' }, String(count)))
    return made
  })
  return [html('div', { className: 'styledelta-info-label' }, text.tags), html('div', { className: 'styledelta-chips styledelta-quiet' }, ...chips)]
}

/** A button that copies a text, and tells so for a moment. */
function chip(shown, content, title, text) {
  const words = html('span', {}, shown)
  return html(
    'button',
    {
      type: 'button',
      className: 'styledelta-chip',
      title,
      onclick: async () => {
        const copied = await copyText(content)
        if (!copied) getSelection().selectAllChildren(words)
        else words.textContent = text.copied
        if (copied) setTimeout(() => (words.textContent = shown), NOTICE)
      }
    },
    words
  )
}
