"""Lowered modules and their code to bundles: files, manifest, report, model card."""
