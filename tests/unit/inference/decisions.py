#!/usr/bin/env python3
"""decisions.json: what transformers' generate decides when logits are a table of the last token.

  decisions.py OUT.json      made with transformers 5.23.0, torch 2.12.1

A case: which table, the prompt, options under transformers' names, and the new tokens (beams: and the score; sampling:
the distribution of the first new token). Cases in which f32 and f64 disagree are left out.
"""
import json
import random
import sys

import torch
from transformers import PretrainedConfig, PreTrainedModel, GenerationMixin
from transformers.modeling_outputs import CausalLMOutput

V, TABLES = 23, 3


class TableConfig(PretrainedConfig):
    model_type = "table"


class Table(PreTrainedModel, GenerationMixin):
    config_class = TableConfig
    _supports_cache_class = False

    def __init__(self, config, table):
        super().__init__(config)
        self.table = torch.nn.Parameter(table)

    def forward(self, input_ids=None, attention_mask=None, **_):
        return CausalLMOutput(logits=self.table[input_ids])

    def prepare_inputs_for_generation(self, input_ids, **_):
        return dict(input_ids=input_ids)


def random_options(r):
    o = dict(max_new_tokens=r.choice([1, 2, 5, 9, 14]))
    o["eos_token_id"] = r.choice([[3], [3, 7], [1, 4, 9], [22]])
    some = lambda: r.random() < 0.3
    if some():
        o["repetition_penalty"] = r.choice([0.7, 1.2, 1.8])
    if some():
        o["no_repeat_ngram_size"] = r.choice([1, 2, 3])
    if some():
        o["bad_words_ids"] = [[r.randrange(V) for _ in range(r.choice([1, 2, 2]))] for _ in range(4)]
    if some():
        o["min_new_tokens"] = r.choice([2, 4])
    if some():
        o["min_length"] = r.choice([3, 7])
    if some():
        o["forced_bos_token_id"] = r.randrange(V)
    if some():
        o["forced_eos_token_id"] = o["eos_token_id"][0]
    if some():
        o["suppress_tokens"] = r.sample(range(V), 3)
    if some():
        o["begin_suppress_tokens"] = r.sample(range(V), 5)
    return o


def beam_options(r):
    o = random_options(r)
    o.update(num_beams=r.choice([2, 3, 4, 6]), length_penalty=r.choice([-1.0, 0.0, 0.6, 1.0, 2.0]),
             early_stopping=r.choice([False, True, "never"]))
    return o


def sample_options(r):
    o = random_options(r)
    o.update(max_new_tokens=1, do_sample=True, temperature=r.choice([0.5, 1.0, 1.7]), top_k=r.choice([0, 0, 2, 5, 12]),
             top_p=r.choice([1.0, 0.3, 0.8]), min_p=r.choice([None, None, 0.05, 0.4]))
    for key in ("forced_bos_token_id", "forced_eos_token_id"):
        o.pop(key, None)
    return o


def decide(model, prompt, options):
    out = model.generate(torch.tensor([prompt]), **options, use_cache=False, pad_token_id=0,
                         return_dict_in_generate=True, output_scores=True)
    if not all(torch.isfinite(scores).any(-1).all() for scores in out.scores):
        raise ValueError("everything is banned, and argmax takes token 0")
    case = {}
    if options.get("do_sample"):
        case["probabilities"] = [round(p, 7) for p in out.scores[0][0].double().softmax(-1).tolist()]
        return case
    new = out.sequences[0, len(prompt):].tolist()
    stop = next((i + 1 for i, t in enumerate(new) if t in options["eos_token_id"]), len(new))
    case["tokens"] = new[:stop]
    if "num_beams" in options:
        case["score"] = round(out.sequences_scores[0].item(), 5)
    return case


def main():
    r = random.Random(5)
    torch.manual_seed(5)
    tables = [(torch.randn(V, V) * scale).mul(1000).round().div(1000) for scale in (1.0, 2.0, 4.0)]
    models = [Table(TableConfig(vocab_size=V), t) for t in tables]
    cases = []
    for kind, count in ((random_options, 120), (beam_options, 260), (sample_options, 40)):
        for _ in range(count):
            which, prompt, options = r.randrange(TABLES), [r.randrange(V) for _ in range(r.choice([1, 1, 3, 6]))], kind(r)
            model = models[which]
            try:
                one = decide(model.float(), prompt, options)
                two = decide(model.double(), prompt, options)
            except (ValueError, RuntimeError):  # options that transformers refuses: forced and banned at once
                continue
            if one.get("tokens") == two.get("tokens"):
                cases.append(dict(table=which, prompt=prompt, options=options, **one))
    with open(sys.argv[1], "w") as file:
        file.write('{"tables": %s,\n"cases": [\n' % json.dumps([[round(x, 3) for x in t.flatten().tolist()] for t in tables]))
        file.write(",\n".join(json.dumps(c) for c in cases) + "\n]}\n")
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
