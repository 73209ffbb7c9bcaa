#!/usr/bin/env python3
"""Small models with eyes for tests/golden/vision: random weights, real file layouts, tokenizers that know every byte.

  vision_models.py OUT        make OUT/tower, OUT/tower-fp8, OUT/radio, OUT/clip, OUT/llava

Made with transformers 5.23.0, torch, tokenizers and Pillow (the recordings name the versions); docs/vision.md's examples run on them. `tower` comes with a
recording: raw pictures (tests/golden/images) and what each layer makes of them.
"""
import json
import os
import sys

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection, LlavaConfig,
                          LlavaForConditionalGeneration, RadioConfig, RadioModel)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

IMAGES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "golden", "images")
VISION = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8,
              projection_dim=16)
WORDS = ["a photo of a", "a cat", "a dog", "a person", "a flag", "it"]


def randomise(model, seed):
    """Weights large enough that a mistake shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() < 2 and "norm" in name and name.endswith("weight"):
                p.copy_(1 + 0.1 * torch.randn(p.shape, generator=generator))
            elif "logit_scale" not in name:
                p.copy_((0.02 if p.dim() < 2 else p.shape[-1] ** -0.5) * torch.randn(p.shape, generator=generator))
    model.tie_weights()
    return model.eval()


def put_json(folder, name, value):
    with open(os.path.join(folder, name), "w") as f:
        json.dump(value, f, indent=1, ensure_ascii=False)
        f.write("\n")


def put_processor(folder, size):
    put_json(folder, "preprocessor_config.json",
             dict(image_processor_type="CLIPImageProcessor", do_resize=True, size=dict(shortest_edge=size), resample=3,
                  do_center_crop=True, crop_size=dict(height=size, width=size), do_rescale=True,
                  rescale_factor=1 / 255, do_normalize=True, do_convert_rgb=True,
                  image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711]))


def byte_characters():
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def merged(vocabulary, words):
    """The merges that make each word, a list of symbols, one token; what they make is added to the vocabulary."""
    merges = {}
    for parts in words:
        while len(parts) > 1:
            merges[parts[0], parts[1]] = True
            parts = ["".join(parts[:2])] + parts[2:]
            vocabulary.setdefault(parts[0], len(vocabulary))
    return list(merges)


def clip_tokenizer(folder):
    """CLIP's: lower case, words that end in </w>, an end token that pads."""
    letters = byte_characters()
    vocabulary = {c: i for i, c in enumerate(letters + [c + "</w>" for c in letters])}
    words = sorted({w for phrase in WORDS for w in phrase.split()})
    merges = merged(vocabulary, [list(w[:-1]) + [w[-1] + "</w>"] for w in words])
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    t = Tokenizer(models.BPE(vocabulary, merges, unk_token="<|endoftext|>", continuing_subword_prefix="",
                             end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    pattern = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "removed", invert=True),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    start, end = vocabulary["<|startoftext|>"], vocabulary["<|endoftext|>"]
    t.post_processor = processors.RobertaProcessing(("<|endoftext|>", end), ("<|startoftext|>", start),
                                                    trim_offsets=False, add_prefix_space=False)
    t.add_special_tokens([AddedToken(w, normalized=False, special=True) for w in ("<|startoftext|>", "<|endoftext|>")])
    t.save(os.path.join(folder, "tokenizer.json"))
    put_json(folder, "tokenizer_config.json",
             dict(tokenizer_class="CLIPTokenizer", bos_token="<|startoftext|>", eos_token="<|endoftext|>",
                  pad_token="<|endoftext|>", unk_token="<|endoftext|>", model_max_length=16, do_lower_case=True))
    return len(vocabulary), start, end


def llava_tokenizer(folder):
    specials = ["<pad>", "<s>", "</s>", "<image>"]
    vocabulary = {w: i for i, w in enumerate(specials)}
    for c in byte_characters():
        vocabulary[c] = len(vocabulary)
    merges = merged(vocabulary, map(list, ["USER", "ASSISTANT", "\u0120the", "\u0120is"]))
    t = Tokenizer(models.BPE(vocabulary, merges))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)])
    t.add_special_tokens([AddedToken(w, normalized=False, special=True) for w in specials])
    t.save(os.path.join(folder, "tokenizer.json"))
    put_json(folder, "tokenizer_config.json",
             dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
                  image_token="<image>", model_max_length=512))
    return len(vocabulary)


CHAT = ("{% for message in messages %}{{ message['role'].upper() + ': ' }}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
        "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}"
        "{{ '\n' if message['role'] == 'user' else eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:{% endif %}")


def make_clip(folder):
    vocabulary, start, end = clip_tokenizer(folder)
    config = CLIPConfig(projection_dim=16, vision_config=VISION,
                        text_config=dict(vocab_size=vocabulary, hidden_size=24, intermediate_size=48, num_hidden_layers=2,
                                         num_attention_heads=3, max_position_embeddings=16, projection_dim=16,
                                         bos_token_id=start, eos_token_id=end, pad_token_id=end))
    randomise(CLIPModel(config), 1).save_pretrained(folder)
    put_processor(folder, VISION["image_size"])


def make_llava(folder):
    vocabulary = llava_tokenizer(folder)
    text = dict(model_type="llama", vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=False,
                bos_token_id=1, eos_token_id=2, pad_token_id=0)
    config = LlavaConfig(vision_config=dict(model_type="clip_vision_model", **{**VISION, "num_hidden_layers": 3}),
                         text_config=text, image_token_index=3, image_seq_length=16, vision_feature_layer=-2,
                         vision_feature_select_strategy="default")
    model = randomise(LlavaForConditionalGeneration(config), 2)
    model.generation_config.update(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    model.save_pretrained(folder)
    put_processor(folder, VISION["image_size"])
    put_json(folder, "processor_config.json",
             dict(processor_class="LlavaProcessor", image_token="<image>", num_additional_image_tokens=1, patch_size=8,
                  vision_feature_select_strategy="default"))
    with open(os.path.join(folder, "chat_template.jinja"), "w") as f:
        f.write(CHAT)


def write_recording(tensors, folder, family, seed):
    source = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, os.path.join(folder, "recording.safetensors"),
              metadata=dict(format="drivetrain-recording/1", source=source, dtype="f32", model=family, seed=str(seed),
                            options=json.dumps({"pixels": "pillow"})))


def record(model, folder):
    pictures = [np.asarray(Image.open(os.path.join(IMAGES, n)).convert("RGB").resize(size, Image.Resampling.BICUBIC))
                for n, size in (("hopper.jpg", (50, 40)), ("p_trns_single.png", (33, 48)))]
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pixels = processor(images=[Image.fromarray(p) for p in pictures], return_tensors="pt")["pixel_values"]
    out = model(pixel_values=pixels, output_hidden_states=True)
    vision = model.vision_model(pixel_values=pixels)
    tensors = {f"in.image.{i}": torch.from_numpy(p.copy()) for i, p in enumerate(pictures)}
    tensors |= {"in.pixels": pixels, "out.embedding": out.hidden_states[0], "out.hidden": vision.last_hidden_state,
                "out.pooled": vision.pooler_output, "out.image_features": out.image_embeds}
    tensors |= {f"out.layer.{k}": h for k, h in enumerate(out.hidden_states[1:])}
    write_recording(tensors, folder, "clip_vision_model", 3)


def make_tower(folder):
    model = randomise(CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)), 3)
    model.save_pretrained(folder)
    put_processor(folder, VISION["image_size"])
    record(model, folder)


def to_fp8(weight):
    """e4m3 bytes and one scale a row, and what they stand for."""
    scale = weight.abs().amax(1, keepdim=True) / torch.finfo(torch.float8_e4m3fn).max
    stored = (weight / scale).to(torch.float8_e4m3fn)
    return stored, scale, stored.float() * scale


def make_tower_fp8(folder):
    """The weights of every layer as 8-bit floats; the recording is of what they stand for."""
    model = randomise(CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)), 4)
    stored = dict(model.state_dict())
    for name, weight in model.state_dict().items():
        if ".layers." in name and weight.dim() == 2:
            stored[name], stored[name.replace("weight", "weight_scale")], meant = to_fp8(weight)
            weight.copy_(meant)
    model.config.save_pretrained(folder)
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    put_json(folder, "config.json", config | dict(architectures=[type(model).__name__], quantization_config=dict(
        quant_method="compressed-tensors", format="float-quantized")))
    save_file({k: v.contiguous() for k, v in stored.items()}, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    put_processor(folder, VISION["image_size"])
    record(model, folder)


def make_radio(folder):
    """RADIO sees pictures of several sizes at once, packed; it normalises its pixels itself."""
    config = RadioConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2.0, patch_size=4, image_size=32,
                         max_img_size=32, num_cls_tokens=2, num_registers=3)
    model = randomise(RadioModel(config), 5)
    model.save_pretrained(folder)
    put_json(folder, "preprocessor_config.json",
             dict(image_processor_type="CLIPImageProcessor", do_resize=False, do_center_crop=False, do_rescale=True,
                  rescale_factor=1 / 255, do_normalize=False, do_convert_rgb=True))
    pictures = [np.asarray(Image.open(os.path.join(IMAGES, "hopper.jpg")).resize(size, Image.Resampling.BICUBIC))
                for size in ((24, 16), (32, 32), (12, 40))]
    pixels = [torch.from_numpy(p.copy()).permute(2, 0, 1).float() * (1 / 255) for p in pictures]
    patches = torch.cat([model.embeddings._image_to_patches(p[None])[0] for p in pixels])
    grids = torch.tensor([(p.shape[1] // 4, p.shape[2] // 4) for p in pixels])
    out = model(pixel_values=patches, image_grid_hw=grids, output_hidden_states=True)
    rows = (grids.prod(1) + 5).tolist()

    def padded(x):
        return torch.nn.utils.rnn.pad_sequence(x.reshape(-1, x.shape[-1]).split(rows), batch_first=True)

    tensors = {f"in.image.{i}": torch.from_numpy(p.copy()) for i, p in enumerate(pictures)}
    tensors |= {"out.embedding": padded(out.hidden_states[0]), "out.hidden": padded(out.last_hidden_state)}
    tensors |= {f"out.layer.{k}": padded(h) for k, h in enumerate(out.hidden_states[1:])}
    write_recording(tensors, folder, "radio", 5)


def main():
    for name, make in (("tower", make_tower), ("tower-fp8", make_tower_fp8), ("radio", make_radio), ("clip", make_clip), ("llava", make_llava)):
        folder = os.path.join(sys.argv[1], name)
        os.makedirs(folder, exist_ok=True)
        torch.manual_seed(0)
        make(folder)


if __name__ == "__main__":
    main()
