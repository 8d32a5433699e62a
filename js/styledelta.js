import { app } from '../../scripts/app.js'
import { keepDefinitions } from './lora_names.js'
import { loraRows } from './lora_rows.js'

app.registerExtension({
  name: 'StyleDelta',
  getCustomWidgets: () => ({ ...loraRows }),
  refreshComboInNodes: keepDefinitions
})
