import { locale } from '../shared/text.js'

// By the descriptions of delta/style_network/style_names.py.
const ZH = {
  'soft pastel, sky blue and ochre': '柔和粉彩，天蓝与赭黄',
  'bold black lines, grey and yellow': '粗黑线条，灰与黄',
  'charcoal, pale blue and peach': '炭笔，浅蓝与桃色',
  'abstract strokes, red, blue and black': '抽象笔触，红、蓝、黑',
  'canvas grain, dark red, apricot and sky blue': '画布纹理，暗红、杏黄与天蓝',
  'oil sketch, rust and violet': '油画速写，锈红与紫',
  'dark dots on indigo': '靛蓝底深色斑点',
  'flat paint, blue, yellow and red': '平涂，蓝、黄、红',
  'fine hatching, turquoise and pink on white': '细排线，白底青绿与粉红',
  'linocut flecks, dark teal, red and white': '麻胶版画碎点，墨青、红与白',
  'wood carving, burnt orange and black': '木刻，焦橙与黑',
  'stippled contours, ochre on pale grey': '点刻轮廓，浅灰底赭黄',
  'soft light, yellow and lavender': '柔光，黄与薰衣草紫',
  'strong contours, lime, teal and dark red': '浓重轮廓，黄绿、青与暗红',
  'pale wash, light blue and blush': '淡彩晕染，浅蓝与淡粉',
  'cubist lines, pastel lilac': '立体派线条，淡紫粉彩',
  'crayon hatching, violet blue and olive': '蜡笔排线，蓝紫与橄榄黄',
  'woven ribbons, red, orange and blue': '编织条带，红、橙、蓝',
  'carved relief, khaki and brown': '浮雕刻痕，卡其与棕',
  'night-sky strokes, blue and yellow': '星夜笔触，蓝与黄',
  'glowing dark red with blue': '暗红幽光，点缀蓝色',
  'paper cut-outs, pink, light blue and black': '剪纸色块，粉、浅蓝与黑',
  'comic ink, white, violet blue and red': '漫画墨线，白、蓝紫与红',
  'dusk, dark green and pale blue': '暮色，墨绿与浅蓝',
  'woodblock print, blue on cream': '木版画，米色底蓝',
  'thick dabs, slate blue and rust': '厚涂色点，灰蓝与锈橙'
}
const NUMBERED = /^style (\d+)(?:: (.+))?$/

/** A style's name in the language in use, such as 'style 19: night-sky strokes, blue and yellow'. */
export function styleTitle(name) {
  const [, number, words] = NUMBERED.exec(name) ?? []
  if (locale() !== 'zh' || number === undefined) return name
  return words === undefined ? `风格 ${number}` : `风格 ${number}：${ZH[words] ?? words}`
}

/** The same without the word before the number, for narrow places. */
export function narrowTitle(name) {
  return NUMBERED.test(name) ? styleTitle(name).replace(/^\S+ /, '') : name
}

/** A style's number with the word before it, where it has one. */
export function numberTitle(name) {
  return NUMBERED.test(name) ? styleTitle(name).split(/[:：]/)[0] : name
}
