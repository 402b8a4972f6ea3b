"""What a served model is asked in beside the native route: the routes of other servers, as their clients know them.

text-embeddings-inference (`tei`), OpenAI (`openai`), Cohere and Jina (`rerank`), the Open Inference Protocol (`openinference`).
`table` lists every route. A module here reads a request in its protocol's spelling, lets the `Serving` compute it, and
words the answer and every refusal; nothing here computes, waits or counts by itself.
"""
