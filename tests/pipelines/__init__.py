"""Small models of many architectures, and a process with torch that asks them: by our worker's code, and by transformers."""
