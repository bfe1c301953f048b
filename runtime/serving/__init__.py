"""Bundles that answer over a network: by the Wyoming protocol of voice assistants, and by the API that OpenAI made."""
