#!/usr/bin/env python3
"""transformers answers for a Hugging Face folder: logits of the rows, and what generate() makes of them; what towers
make of noise."""
import os

import peer

os.environ["HF_HUB_OFFLINE"] = "1"
try:
    import torch
    import transformers
except ImportError as error:
    peer.missing(error)

CLASSES = {"t5": "AutoModelForSeq2SeqLM", "gpt": "AutoModelForCausalLM"}


def ends_of(model):
    ends = model.generation_config.eos_token_id
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def one_by_one(model, q):
    """Logits (or hidden states, of models without a head) and greedy rows, each prompt alone: nothing is padded."""
    logits, greedy = [], []
    for i, prompt in enumerate(q["prompts"]):
        ids = torch.tensor([prompt])
        inputs = dict(input_ids=ids, attention_mask=torch.ones_like(ids))
        kept = 0 if "decoder_prompts" in q else len(prompt)
        more = {"decoder_input_ids": torch.tensor([q["decoder_prompts"][i]])} if "decoder_prompts" in q else {}
        out = model(**inputs, **more)
        logits.append((out.logits if "logits" in out else out.last_hidden_state)[0].float().numpy())
        if q["model_type"] in CLASSES:
            start = {"decoder_start_token_id": q["decoder_prompts"][i][0]} if more else {}
            made = model.generate(**inputs, **start, max_new_tokens=q["new_tokens"], do_sample=False, num_beams=1)[0]
            greedy.append(made[1 if more else kept:].tolist())
    return logits, greedy


def tower(q):
    """The class that config.json names: it has the heads that the file has."""
    name = transformers.AutoConfig.from_pretrained(q["model"]).architectures[0]
    model = getattr(transformers, name).from_pretrained(q["model"], dtype=torch.float32).eval()
    pixels = peer.noise(q["pixels"])
    out = {k: v for k, v in model(pixel_values=torch.from_numpy(pixels)).items() if torch.is_tensor(v)}
    return {"in.pixels": pixels, **peer.named({name: value.numpy() for name, value in out.items()})}


def main():
    q = peer.question()
    if q["model_type"] == "tower":
        with torch.no_grad():
            peer.answer(tower(q), f"transformers {transformers.__version__}, torch {torch.__version__}")
        return
    kind = getattr(transformers, CLASSES.get(q["model_type"], "AutoModel"))
    if q["model_type"] == "encoder":
        kind = getattr(transformers, transformers.AutoConfig.from_pretrained(q["model"]).architectures[0])
    with torch.no_grad():
        model = kind.from_pretrained(q["model"], dtype=torch.float32, attn_implementation="eager").eval()
        logits, greedy = one_by_one(model, q)
    tensors = {"out.logits" if q["model_type"] in CLASSES else "out.hidden": peer.rows_of_logits(logits)}
    if greedy:
        ends = ends_of(model)
        rows = []
        for row in greedy:
            stop = next((i + 1 for i, id in enumerate(row) if id in ends), len(row))
            rows.append(row[:stop] + [-1] * (q["new_tokens"] - stop))
        tensors["out.greedy"] = peer.padded(rows)[0]
    source = f"transformers {transformers.__version__}, torch {torch.__version__}"
    peer.answer(tensors, source, q["prompts"], q.get("decoder_prompts"), ends_of(model) if greedy else ())


if __name__ == "__main__":
    main()
