"""The default model ``home``: English requests to a home become one line of JSON; data, tokenizer and evaluation."""
