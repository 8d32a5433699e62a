import { app } from '../../scripts/app.js'
import { keepDefinitions } from './lora_names.js'
import { loraRows } from './lora_rows.js'
import { reportPanel } from './report_panel.js'
import { stylePalettes } from './style_palette.js'

app.registerExtension({
  name: 'styledelta.widgets',
  getCustomWidgets: () => ({ ...loraRows, ...stylePalettes }),
  refreshComboInNodes: keepDefinitions,
  ...reportPanel
})
