// Colours of the pack's types for sockets in Nodes 2.0, which knows none for types that are not ComfyUI's own.
const COLOURS = {
  LORA_STACK: 'rgb(217 125 46)',
  LORA_MODEL: 'rgb(201 148 32)',
  RANK_POLICY: 'rgb(138 150 64)',
  STYLE_NETWORK: 'rgb(150 106 214)',
  STYLE_PARAMS: 'rgb(200 104 178)',
  TRANSFER_NETWORK: 'rgb(112 122 224)',
  TRANSFER_STYLE: 'rgb(214 112 122)',
  FEATURE_STATISTICS: 'rgb(112 130 218)',
  CONTROL_NET_STACK: 'rgb(38 150 130)',
  CONTROL_WEIGHTS: 'rgb(60 160 90)',
  CONTROL_SCHEDULE: 'rgb(56 146 200)',
  POSE_KEYPOINT: 'rgb(216 96 96)',
  MODEL_PATCH: 'rgb(120 138 160)'
}

/** Give the sockets of the pack's types their colours. */
export function colourSockets() {
  // Sockets are drawn by the front end, outside of the pack's widgets, and read their colours from the page. Front ends write the
  // style of the root or of the body anew when the palette changes, each its own; the other one keeps the colours.
  for (const { style } of [document.documentElement, document.body]) {
    for (const [type, colour] of Object.entries(COLOURS)) style.setProperty(`--color-datatype-${type}`, colour)
  }
}
