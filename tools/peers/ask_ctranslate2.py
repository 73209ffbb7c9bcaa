#!/usr/bin/env python3
"""CTranslate2 answers for a folder of its own: logits and greedy tokens, computed in f32 whatever is stored."""
import json
import os

import peer

try:
    import ctranslate2
    import numpy as np
except ImportError as error:
    peer.missing(error)

OPTIONS = dict(device="cpu", compute_type="float32", intra_threads=1)


def vocabulary(folder, side):
    for name in (side, "shared_vocabulary", "vocabulary"):
        path = os.path.join(folder, name + ".json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                return json.load(file)
    raise SystemExit(f"{folder} has no {side}.json")


def within_window(q):
    """CTranslate2's sliding window is exact until it is full: shorter rows, and fewer new tokens, where there is one."""
    with open(os.path.join(q["model"], "config.json"), encoding="utf-8") as file:
        window = json.load(file).get("drivetrain", {}).get("window_size")
    if window and window[0] >= 0:
        most = max(window[0] + 1, 2)
        q["new_tokens"] = min(q["new_tokens"], most // 2)
        q["prompts"] = [row[: most - q["new_tokens"]] for row in q["prompts"]]


def decoder_answers(q):
    vocab = vocabulary(q["model"], "vocabulary")
    model = ctranslate2.Generator(q["model"], **OPTIONS)

    def logits_of(row):
        tokens = [[vocab[id] for id in row]]
        return np.array(model.forward_batch(tokens, return_log_probs=False))[0]

    logits = [logits_of(row) for row in q["prompts"]]
    greedy = []
    for row in q["prompts"]:
        answer = model.generate_batch([[vocab[id] for id in row]], max_length=q["new_tokens"], min_length=q["new_tokens"],
                                      beam_size=1, include_prompt_in_result=False, end_token=[])[0]
        greedy.append(answer.sequences_ids[0])
    return logits, greedy


def translator_answers(q):
    source, target = vocabulary(q["model"], "source_vocabulary"), vocabulary(q["model"], "target_vocabulary")
    model = ctranslate2.Translator(q["model"], **OPTIONS)
    logits, greedy = [], []
    for row in q["prompts"]:
        answer = model.translate_batch([[source[id] for id in row]], beam_size=1, max_input_length=0,
                                       max_decoding_length=q["new_tokens"], min_decoding_length=q["new_tokens"],
                                       end_token=[], return_logits_vocab=True)[0]
        greedy.append([target.index(token) for token in answer.hypotheses[0]])
        logits.append(np.array(answer.logits[0])[:1].reshape(1, -1))
    return logits, greedy


def main():
    q = peer.question()
    within_window(q)
    two = "decoder_prompts" in q
    logits, greedy = (translator_answers if two else decoder_answers)(q)
    tensors = {"out.logits": peer.rows_of_logits(logits), "out.greedy": peer.padded(greedy, -1)[0]}
    starts = [row[:1] for row in q["decoder_prompts"]] if two else None
    peer.answer(tensors, f"ctranslate2 {ctranslate2.__version__}", q["prompts"], starts)


if __name__ == "__main__":
    main()
