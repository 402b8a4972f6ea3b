"""Makes one GGUF file of a transformers repository, so that llama.cpp can generate from it.

`conversion` is the door: it runs `__main__` in a process of its own and keeps what came of it. There `config` reads the
sizes of a family (`families`), `vocabulary` the tokenizer and `stops` what ends an answer; `tensors` plans what is written,
`write` writes it as `storage` names it, and `check` has llama.cpp open it and split texts. Without torch and transformers, and never a guess:
what is not certain is `Refused`.
"""
