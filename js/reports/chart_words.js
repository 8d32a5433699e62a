import { locale } from '../shared/text.js'

// What Python writes into charts, and its Chinese. {} stands for names and numbers; the first text that fits is taken.
const CHINESE = {
  // Tabs
  Cosine: '余弦',
  Difference: '差异',
  Energy: '能量',
  Error: '误差',
  'Inputs shared': '输入重合',
  Loss: '损失',
  'Outputs shared': '输出重合',
  Ranks: '秩',
  Rounding: '舍入',
  Size: '大小',
  Spectra: '奇异值谱',
  Strength: '强度',
  modulation: '调制',
  norms: '归一化',
  qk_norms: 'QK 归一化',
  // Titles
  'Control strength over {} steps': (steps) => `${steps} 步中的 ControlNet 强度`,
  'Difference of the control outputs, {} against {}': (ours, reference) => `ControlNet 输出的差异：${ours} 与 ${reference} 相比`,
  'Energy by block': '各块的能量',
  'Fit Style': '拟合风格',
  'How far {} moved, by block': (norms) => `各块中“${chinese(norms)}”的变化幅度`,
  'How far norms moved, by block': '各块中归一化参数的变化幅度',
  'Layers by rank': '各秩的层数',
  'Training loss': '训练的损失',
  'Loss of the painting': '画面的损失',
  'Relative error against the exact sum, by block': '各块相对于精确之和的误差',
  'Relative error by block': '各块的相对误差',
  'Rounding by block': '各块的舍入',
  'Singular values of the blocks that change most': '变化最大的各块的奇异值',
  'Singular values of the strongest layers of {}': (lora) => `${lora} 中最强各层的奇异值`,
  'Size and error of {}': (lora) => `${lora} 的大小与误差`,
  'Remaining strength, by block': '各块余下的强度',
  // Axes and units
  "% of the LoRA's own": '%（占 LoRA 原强度）',
  '% of the change': '%（占改变量）',
  '% of their size': '%（占其大小）',
  error: '误差',
  'index of the singular value': '奇异值序号',
  layers: '层',
  loss: '损失',
  'sampling progress, from noise to picture': '采样进度，从噪声到图像',
  'relative error (%)': '相对误差（%）',
  'singular value': '奇异值',
  'size (MB at 2 bytes per number)': '大小（MB，每个数 2 字节）',
  step: '步',
  strength: '强度',
  // Names of lines and bars
  all: '全部',
  'all blocks': '所有块',
  content: '内容',
  'fixed draws': '固定抽样',
  'held-out squares': '留出的方块',
  'no low-rank layer': '没有低秩层',
  'nothing changed': '没有改变',
  'nothing moved': '没有变化',
  'one rank in all layers': '所有层用同一个秩',
  style: '风格',
  'rank {} to {}': (first, last) => `秩 ${first} 至 ${last}`,
  'rank {}': (rank) => `秩 ${rank}`,
  'spread over the layers': '在各层间分配',
  'training, mean of recent steps': '训练，最近几步的平均',
  whole: '完整保存',
  // Notes
  'no layer in common': '没有共同的层',
  '{}: too many numbers to show here. The plot output has them.': (title) => `${chinese(title)}：数值太多，无法在此显示，请查看图表输出。`
}
const TEMPLATES = Object.entries(CHINESE)
  .filter(([text]) => text.includes('{}'))
  .map(([text, words]) => [new RegExp(`^${text.split('{}').map(escaped).join('(.+)')}$`), words])
const ONE = ['tab', 'title', 'unit', 'x_label', 'y_label']
const MANY = ['names', 'lines']

/** A chart as Python describes it, with its words in the language in use. */
export function inLanguage(chart) {
  if (locale() !== 'zh') return chart
  const changed = { ...chart }
  for (const key of ONE) if (key in chart) changed[key] = chinese(chart[key])
  for (const key of MANY) if (key in chart) changed[key] = chart[key].map(chinese)
  if (chart.series) changed.series = chart.series.map((series) => ({ ...series, name: chinese(series.name) }))
  return changed
}

function chinese(text) {
  if (Object.hasOwn(CHINESE, text) && !text.includes('{}')) return CHINESE[text]
  for (const [pattern, words] of TEMPLATES) {
    const found = pattern.exec(text)
    if (found) return words(...found.slice(1))
  }
  return text
}

function escaped(text) {
  return text.replace(/[.*+?^$()|[\]\\]/g, '\\$&')
}
