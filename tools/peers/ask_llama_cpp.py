#!/usr/bin/env python3
"""llama.cpp answers for a GGUF file: logits and greedy tokens, keys and values in f32; the states of T5's encoder alone."""
import ctypes

import peer

try:
    import llama_cpp
    import numpy as np
except ImportError as error:
    peer.missing(error)

F32 = 0  # ggml's number


@llama_cpp.llama_log_callback
def silent(level, text, user):
    """Only what drivetrain asks is printed."""


class Session:
    """A model, and an empty context for each row."""

    def __init__(self, path):
        llama_cpp.llama_log_set(silent, None)
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.context = None
        # llama.cpp does not divide a tied head's input by sqrt(width), where T5 1.0 does
        scaled = self.note("drivetrain.scale_decoder_outputs") == "true"
        self.scale = llama_cpp.llama_model_n_embd(self.model) ** -0.5 if scaled else 1.0
        # matrices of 16 bits are multiplied by activations rounded alike
        kind = self.note("general.file_type")
        self.dtype = {"0": "f32", "1": "f16", "32": "bf16"}.get(kind)
        if not self.dtype:
            raise SystemExit("llama.cpp rounds activations to 8 bits for quantised weights, so single logits prove nothing; --check on "
                             "judges the file by its agreement with the source")

    def note(self, key):
        text = ctypes.create_string_buffer(64)
        return text.value.decode() if llama_cpp.llama_model_meta_val_str(self.model, key.encode(), text, 64) > 0 else None

    def start(self, states=False):
        self.end()
        o = llama_cpp.llama_context_default_params()
        o.n_ctx = o.n_batch = o.n_ubatch = 256
        o.n_threads = o.n_threads_batch = 1
        o.type_k = o.type_v = F32
        o.yarn_beta_fast = o.yarn_beta_slow = -1.0  # as the file says
        o.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it rounds keys and values to f16
        o.embeddings, o.pooling_type = states, llama_cpp.LLAMA_POOLING_TYPE_NONE
        self.context = llama_cpp.llama_init_from_model(self.model, o)

    def end(self):
        if self.context:
            llama_cpp.llama_free(self.context)
        self.context = None

    def feed(self, function, row):
        ids = (llama_cpp.llama_token * len(row))(*row)
        code = function(self.context, llama_cpp.llama_batch_get_one(ids, len(row)))
        if code:
            raise SystemExit(f"llama.cpp: code {code}")

    def logits_after(self, token):
        self.feed(llama_cpp.llama_decode, [token])
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.context, -1), (self.vocabulary,)) * np.float32(self.scale)

    def states_of(self, row):
        self.start(states=True)
        self.feed(llama_cpp.llama_encode, row)
        width = llama_cpp.llama_model_n_embd(self.model)
        return np.stack([np.ctypeslib.as_array(llama_cpp.llama_get_embeddings_ith(self.context, i), (width,)) for i in range(len(row))])

    def answer(self, prompt, steps, memory=None):
        """Logits along the prompt, then greedy tokens behind it; with a memory, an encoder's, from the first token on."""
        self.start()
        if memory:
            self.feed(llama_cpp.llama_encode, memory)
        logits = [self.logits_after(token) for token in prompt]
        row = [int(logits[-1].argmax())]
        if memory:
            self.start()
            self.feed(llama_cpp.llama_encode, memory)
            row = [int(self.logits_after(prompt[0]).argmax())]
        while len(row) < steps:
            row.append(int(self.logits_after(row[-1]).argmax()))
        return np.stack(logits), row


def main():
    q = peer.question()
    session = Session(q["model"])
    if q["model_type"] == "encoder":
        tensors = {"out.hidden": peer.rows_of_logits([session.states_of(row) for row in q["prompts"]])}
    else:
        pairs = zip(q["decoder_prompts"], q["prompts"]) if "decoder_prompts" in q else ((row, None) for row in q["prompts"])
        logits, greedy = zip(*(session.answer(row, q["new_tokens"], memory) for row, memory in pairs))
        tensors = {"out.logits": peer.rows_of_logits(logits), "out.greedy": peer.padded(greedy)[0]}
    session.end()
    peer.answer(tensors, f"llama.cpp (llama-cpp-python {llama_cpp.__version__})", q["prompts"], q.get("decoder_prompts"),
                dtype=session.dtype)


if __name__ == "__main__":
    main()
