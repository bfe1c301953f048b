"""From a lowered module to linked code: memory, driver, kernel objects, linking."""
